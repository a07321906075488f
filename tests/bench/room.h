// tests/bench/room.h — a CPU backend with every core, and tensors in it, for the micro-benchmarks.
#pragma once
#include <array>
#include <memory>
#include <vector>

#include "backends/cpu/cpu_backend.h"
#include "engine/core/check.h"

namespace lm::bench {

// The widths of an 8B model; one sequence of up to kMaxTokens rows.
inline constexpr int kMaxTokens = 512, kHeads = 32, kKvHeads = 8, kHeadDim = 128;
inline constexpr int64_t kModel = 4096, kFeedForward = 14336;

class Room {
 public:
  Room() : backend_(value(cpu::registry_entry().open("cpu", {}))) {
    const Status reserved = backend_->reserve({.max_tokens = kMaxTokens,
                                               .max_seqs = 1,
                                               .max_linear_in = kFeedForward,
                                               .max_linear_out = kFeedForward,
                                               .n_heads = kHeads,
                                               .n_kv_heads = kKvHeads,
                                               .head_dim = kHeadDim});
    LM_CHECK(reserved.ok());
  }

  Backend& operator*() const { return *backend_; }
  Backend* operator->() const { return backend_.get(); }

  Tensor tensor(std::array<int64_t, 4> shape, DType dtype = DType::f32) {
    Tensor t{.dtype = dtype, .shape = shape, .row_bytes = int64_t(row_bytes(dtype, shape[3]))};
    buffers_.push_back(value(backend_->alloc(size_t(t.rows() * t.row_bytes))));
    t.buffer = buffers_.back().get();
    return t;
  }
  // f32 with a small number in every place.
  Tensor numbers(std::array<int64_t, 4> shape) {
    Tensor t = tensor(shape);
    std::vector<float> values(size_t(t.rows() * t.cols()));
    for (size_t i = 0; i < values.size(); ++i) values[i] = float(int(i * 37 % 201) - 100) / 100;
    backend_->upload(t, std::as_bytes(std::span(values)));
    return t;
  }
  Tensor ints(std::array<int64_t, 4> shape, const std::vector<int32_t>& values) {
    const Tensor t = tensor(shape, DType::i32);
    backend_->upload(t, std::as_bytes(std::span(values)));
    return t;
  }

  template <class T>
  static T value(Result<T> result) {
    LM_CHECK(result.ok());
    return std::move(result).value();
  }

 private:
  std::unique_ptr<Backend> backend_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
};

}  // namespace lm::bench
