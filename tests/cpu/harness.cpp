#include "tests/cpu/harness.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "quant/blocks.h"
#include "quant/decode.h"
#include "quant/encode.h"

namespace lm::test {
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

// Zero points from end to end of what they may be.
void set_zeros(TestWeight& weight, Random& random) {
  const size_t stride = size_t(dtype_info(weight.dtype).block_bytes);
  for (size_t at = offsetof(BlockI4G<32>, z); at < weight.bytes.size(); at += stride) {
    weight.bytes[at] = std::byte(random.below(17));
  }
}

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

TestWeight random_weight(DType dtype, std::array<int64_t, 4> shape, Random& random) {
  const int64_t n = shape[0] * shape[1] * shape[2] * shape[3];
  const DTypeInfo& info = dtype_info(dtype);
  TestWeight weight{dtype, shape, std::vector<std::byte>(row_bytes(dtype, n)),
                    std::vector<float>(size_t(n))};
  if (can_encode(dtype)) {
    encode(dtype, random_floats(n, random), weight.bytes.data());
    if (is_i4g(dtype)) set_zeros(weight, random);
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
