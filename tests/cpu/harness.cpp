#include "tests/cpu/harness.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "quant/decode.h"
#include "quant/encode.h"

namespace lm::test {
namespace {

constexpr size_t kGuard = 64;  // bytes
constexpr std::byte kGuardByte{0xA5};

}  // namespace

std::unique_ptr<Backend> open_cpu(std::string_view isa, int n_threads) {
  std::unique_ptr<Backend> backend = require_ok(
      cpu::registry_entry().open("cpu", {.n_threads = n_threads, .isa = std::string(isa)}));
  require_ok(backend->reserve(test_limits()));
  return backend;
}

StepLimits test_limits() {
  return {.max_tokens = 600,
          .max_seqs = 8,
          .max_linear_in = 1024,
          .max_linear_out = 1024,
          .n_heads = 8,
          .n_kv_heads = 4,
          .head_dim = 128,
          .n_experts = 16,
          .top_k = 4,
          .d_ff_expert = 256};
}

Guarded::Guarded(Backend& backend, std::array<int64_t, 4> shape, DType dtype)
    : row_bytes_(row_bytes(dtype, shape[3])) {
  tensor_.dtype = dtype;
  tensor_.shape = shape;
  tensor_.offset = kGuard;
  // f32 rows get a gap; others lie together, as the cache's layout demands.
  const size_t gap = dtype == DType::f32 && shape[0] * shape[1] == 1 ? kGuard : 0;
  tensor_.row_bytes = int64_t(row_bytes_ + gap);
  const size_t bytes = 2 * kGuard + size_t(tensor_.rows() * tensor_.row_bytes);
  buffer_ = require_ok(backend.alloc(bytes));
  tensor_.buffer = buffer_.get();
  backend.upload(whole(), std::vector<std::byte>(bytes, kGuardByte));
}

Guarded::Guarded(Backend& backend, std::array<int64_t, 4> shape, const std::vector<float>& values)
    : Guarded(backend, shape) {
  REQUIRE(int64_t(values.size()) == tensor_.rows() * tensor_.cols());
  std::vector<std::byte> image = bytes();
  for (int64_t row = 0; row < tensor_.rows(); ++row) {
    std::memcpy(image.data() + kGuard + row * tensor_.row_bytes,
                values.data() + row * tensor_.cols(), row_bytes_);
  }
  backend.upload(whole(), image);
}

Guarded::Guarded(Backend& backend, std::array<int64_t, 4> shape, const std::vector<int32_t>& values)
    : Guarded(backend, shape, DType::i32) {
  REQUIRE(int64_t(values.size()) == tensor_.rows() * tensor_.cols());
  backend.upload(tensor_, std::as_bytes(std::span(values)));
}

Tensor Guarded::whole() const {
  Tensor all;
  all.buffer = buffer_.get();
  all.dtype = DType::i8;
  all.shape = {1, 1, 1, int64_t(buffer_->bytes())};
  all.row_bytes = int64_t(buffer_->bytes());
  return all;
}

std::vector<std::byte> Guarded::bytes() const {
  std::vector<std::byte> image(buffer_->bytes());
  tensor_.room().download(image, whole());
  return image;
}

std::vector<float> Guarded::floats() const {
  const std::vector<std::byte> image = bytes();
  std::vector<float> values(size_t(tensor_.rows() * tensor_.cols()));
  for (int64_t row = 0; row < tensor_.rows(); ++row) {
    std::memcpy(values.data() + row * tensor_.cols(),
                image.data() + kGuard + row * tensor_.row_bytes, row_bytes_);
  }
  return values;
}

std::vector<int32_t> Guarded::ints() const {
  std::vector<int32_t> values(size_t(tensor_.rows() * tensor_.cols()));
  tensor_.room().download(std::as_writable_bytes(std::span(values)), tensor_);
  return values;
}

bool Guarded::guards_intact() const {
  const std::vector<std::byte> image = bytes();
  const auto intact = [&](size_t first, size_t n) {
    const auto from = image.begin() + ptrdiff_t(first);
    return std::all_of(from, from + ptrdiff_t(n), [](std::byte b) { return b == kGuardByte; });
  };
  bool good = intact(0, kGuard) && intact(image.size() - kGuard, kGuard);
  for (int64_t row = 0; row < tensor_.rows(); ++row) {
    good = good && intact(kGuard + size_t(row * tensor_.row_bytes) + row_bytes_,
                          size_t(tensor_.row_bytes) - row_bytes_);
  }
  return good;
}

namespace {

bool is_integer(DType type) {
  return type == DType::i8 || type == DType::i16 || type == DType::i32 || type == DType::i64;
}

// Any bytes are a block; those whose numbers suit no weight are drawn again.
void random_block(DType dtype, std::byte* data, float* values, Random& random) {
  const DTypeInfo& info = dtype_info(dtype);
  for (bool good = false; !good;) {
    for (int i = 0; i < info.block_bytes; ++i) data[i] = std::byte(random.below(256));
    if (is_integer(dtype)) std::fill_n(data + 1, info.block_bytes - 1, std::byte(0));
    decode(dtype, data, values, info.block_elems);
    const float bound = is_integer(dtype) ? 255.0f : 4.0f;
    good = std::all_of(values, values + info.block_elems,
                       [&](float x) { return std::abs(x) <= bound; });
  }
}

}  // namespace

TestWeight random_weight(DType dtype, std::array<int64_t, 4> shape, Random& random) {
  const int64_t n = shape[0] * shape[1] * shape[2] * shape[3];
  const DTypeInfo& info = dtype_info(dtype);
  TestWeight weight{dtype, shape, std::vector<std::byte>(row_bytes(dtype, n)),
                    std::vector<float>(size_t(n))};
  if (can_encode(dtype)) {
    encode(dtype, random_floats(n, random), weight.bytes.data());
    decode(dtype, weight.bytes.data(), weight.values.data(), n);
    return weight;
  }
  for (int64_t block = 0; block < n / info.block_elems; ++block) {
    random_block(dtype, weight.bytes.data() + block * info.block_bytes,
                 weight.values.data() + block * info.block_elems, random);
  }
  return weight;
}

std::vector<float> random_floats(int64_t n, Random& random, float scale) {
  std::vector<float> values(static_cast<size_t>(n));
  for (float& value : values) value = scale * random.normal();
  return values;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * 4) == 0;
}

}  // namespace lm::test
