// What a block of KV memory takes, and which layouts there are.
#include "engine/kv/kv_cache.h"
#include "tests/support/support.h"

namespace lm {
namespace {

KvLayout layout(DType dtype, std::vector<KvLayerShape> layers) {
  KvLayout l;
  l.dtype = dtype;
  l.layers = std::move(layers);
  return l;
}

TEST_CASE("a block's bytes are K and V of every layer") {
  // 32 tokens · 8 heads · 128 dimensions · 2 bytes, K and V, of 32 layers: 4 MiB
  const KvLayout llama = layout(DType::f16, std::vector<KvLayerShape>(32, {8, 128}));
  CHECK(kv_block_bytes(llama) == KvBlockBytes{uint64_t{4} << 20, 0});
  CHECK(kv_block_bytes(layout(DType::f32, {{2, 6}})) == KvBlockBytes{32 * 2 * 6 * 4 * 2, 0});
  CHECK(kv_block_bytes(layout(DType::q8_0, {{2, 64}})) == KvBlockBytes{32 * 2 * 2 * 34 * 2, 0});
  CHECK(kv_block_bytes(layout(DType::f16, {{1, 64}, {4, 32, true}})) ==
        KvBlockBytes{32 * 64 * 2 * 2, 32 * 128 * 2 * 2});
}

TEST_CASE("layouts that can't be are refused") {
  CHECK(validate(layout(DType::f16, {{2, 6}})).ok());
  CHECK(validate(layout(DType::q8_0, {{2, 64}})).ok());
  const Status odd = validate(layout(DType::q8_0, {{2, 64}, {2, 48}}));
  REQUIRE_FALSE(odd.ok());
  CHECK(odd.error().code == ErrorCode::unsupported);
  CHECK(odd.error().message.find("48 in layer 1") != std::string::npos);
  CHECK_FALSE(validate(layout(DType::q4_0, {{2, 64}})).ok());
  CHECK_FALSE(validate(layout(DType::f16, {{0, 64}})).ok());
  CHECK_FALSE(validate(layout(DType::f16, {{2, 0}})).ok());
  KvLayout huge = layout(DType::f16, {{2, 64}});
  huge.block_size = 1 << 20;
  CHECK_FALSE(validate(huge).ok());
}

TEST_CASE("sizes beyond any number are no number") {
  const int most = 2147483647;
  KvLayout l = layout(DType::f32, std::vector<KvLayerShape>(4, {most, most}));
  l.block_size = 4096;
  CHECK_FALSE(kv_block_bytes(l).has_value());
}

}  // namespace
}  // namespace lm
