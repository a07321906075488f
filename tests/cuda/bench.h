// tests/cuda/bench.h — what the benchmarks of the device share: numbers to work on, and the time of
// calls, recorded as one step so that the host's launches don't count.
#pragma once
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "backends/cuda/cuda_backend.h"

namespace lm::test {

[[noreturn]] inline void stop(std::string_view why) {
  std::fprintf(stderr, "benchmark: %.*s\n", int(why.size()), why.data());
  std::exit(1);
}
template <class T>
T checked(Result<T> result) {
  if (!result.ok()) stop(result.error().message);
  return std::move(result).value();
}
inline void check(const Status& status) {
  if (!status.ok()) stop(status.error().message);
}

// Numbers that look random, the same every time: zeros would be multiplied faster.
inline std::vector<float> numbers(int64_t n) {
  std::vector<float> values(static_cast<size_t>(n));
  uint32_t state = 1;
  for (float& value : values) {
    state = state * 1664525u + 1013904223u;
    value = float(int32_t(state)) * 0x1p-31f;
  }
  return values;
}

// Tensors that live as long as this.
class Room {
 public:
  explicit Room(Backend& backend) : backend_(backend) {}
  Tensor empty(std::array<int64_t, 4> shape, DType dtype = DType::f32) {
    Tensor t;
    t.dtype = dtype;
    t.shape = shape;
    t.row_bytes = int64_t(row_bytes(dtype, t.cols()));
    buffers_.push_back(checked(backend_.alloc(size_t(t.rows() * t.row_bytes))));
    t.buffer = buffers_.back().get();
    return t;
  }
  Tensor filled(std::array<int64_t, 4> shape) {
    const Tensor t = empty(shape);
    const std::vector<float> values = numbers(t.rows() * t.cols());
    backend_.upload(t, std::as_bytes(std::span(values)));
    return t;
  }
  Tensor of(std::array<int64_t, 4> shape, const std::vector<int32_t>& values) {
    const Tensor t = empty(shape, DType::i32);
    backend_.upload(t, std::as_bytes(std::span(values)));
    return t;
  }

 private:
  Backend& backend_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
};

// Seconds that call(i) takes, for i below `repeats`: the median of some replays of all of them.
template <class Call>
double seconds(Backend& backend, int repeats, const Call& call) {
  struct Step {
    const Call& call;
    int repeats;
  } step{call, repeats};
  static uint32_t key = 0;  // each is a step of its own
  const StepKey steps{1, ++key, 1};
  const auto body = [](void* self) {
    const Step& all = *static_cast<Step*>(self);
    for (int i = 0; i < all.repeats; ++i) all.call(i);
  };
  std::vector<double> times;
  for (int round = 0; round < 9; ++round) {
    const auto begin = std::chrono::steady_clock::now();
    backend.run(steps, body, &step);
    check(backend.synchronize());
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    if (round > 1) times.push_back(took.count() / repeats);  // the first two run and record it
  }
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

}  // namespace lm::test
