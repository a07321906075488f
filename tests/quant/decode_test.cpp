// tests/quant/decode_test.cpp — decode() against slices of real tensors with a reference we did not
// write, and its contract on any bytes.
#include "quant/decode.h"

#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>
#include <vector>

#include "engine/core/file.h"
#include "quant/blocks.h"
#include "quant/codebooks.h"
#include "quant/half.h"
#include "tests/support/support.h"

namespace lm {
namespace {

// A fixture: u32 type id, element count, raw bytes, golden bytes; raw blocks; golden bf16.
struct Slice {
  DType type;
  std::vector<std::byte> raw;
  std::vector<uint16_t> golden;
};

Slice read_slice(const std::filesystem::path& path) {
  const std::string bytes = test::require_ok(read_file(path, 1 << 24));
  uint32_t header[4];
  REQUIRE(bytes.size() >= sizeof header);
  std::memcpy(header, bytes.data(), sizeof header);
  REQUIRE(bytes.size() == sizeof header + size_t(header[2]) + header[3]);
  REQUIRE(header[3] == 2 * header[1]);
  const std::optional<DType> type = dtype_from_gguf_id(header[0]);
  REQUIRE(type.has_value());
  REQUIRE(row_bytes(*type, header[1]) == header[2]);
  Slice slice{*type, std::vector<std::byte>(header[2]), std::vector<uint16_t>(header[1])};
  std::memcpy(slice.raw.data(), bytes.data() + sizeof header, header[2]);
  std::memcpy(slice.golden.data(), bytes.data() + sizeof header + header[2], header[3]);
  return slice;
}

TEST_CASE("decode: every fixture slice is bit-exact after rounding to bf16") {
  LM_FIXTURE(folder, "quant/gguf");
  int n_files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    CAPTURE(entry.path().filename().string());
    const Slice slice = read_slice(entry.path());
    std::vector<float> decoded(slice.golden.size());
    decode(slice.type, slice.raw.data(), decoded.data(), int64_t(decoded.size()));
    int n_wrong = 0;
    for (size_t i = 0; i < decoded.size(); ++i) {
      n_wrong += f32_to_bf16(decoded[i]) != slice.golden[i] ? 1 : 0;
    }
    CHECK(n_wrong == 0);
    ++n_files;
  }
  CHECK(n_files == 22);
}

template <class T>
std::vector<float> decode_bytes_of(DType type, const T& data) {
  std::vector<std::byte> bytes(sizeof data + 1);  // at an odd address: no alignment is needed
  std::memcpy(bytes.data() + 1, &data, sizeof data);
  const DTypeInfo& info = dtype_info(type);
  std::vector<float> out(sizeof data / size_t(info.block_bytes) * size_t(info.block_elems));
  decode(type, bytes.data() + 1, out.data(), int64_t(out.size()));
  return out;
}

TEST_CASE("decode: integers and doubles are converted as numbers") {
  const int8_t i8[] = {-128, -1, 0, 127};
  CHECK(decode_bytes_of(DType::i8, i8) == std::vector<float>{-128, -1, 0, 127});
  const int16_t i16[] = {-32768, 32767};
  CHECK(decode_bytes_of(DType::i16, i16) == std::vector<float>{-32768, 32767});
  const int32_t i32[] = {INT32_MIN, 16777217};
  CHECK(decode_bytes_of(DType::i32, i32) == std::vector<float>{-2147483648.0f, 16777216.0f});
  const int64_t i64[] = {INT64_MIN, 1};
  CHECK(decode_bytes_of(DType::i64, i64) == std::vector<float>{-9223372036854775808.0f, 1});
  const double f64[] = {0.1, -1e300, 1e-300};
  CHECK(decode_bytes_of(DType::f64, f64) ==
        std::vector<float>{0.1f, -std::numeric_limits<float>::infinity(), 0});
}

TEST_CASE("decode: f32, f16 and bf16") {
  const float f32[] = {1.5f, -0.0f, 1e-42f};
  CHECK(decode_bytes_of(DType::f32, f32) == std::vector<float>{1.5f, -0.0f, 1e-42f});
  const uint16_t f16[] = {0x3e00, 0xc000, 0x0001};
  CHECK(decode_bytes_of(DType::f16, f16) == std::vector<float>{1.5f, -2.0f, 0x1p-24f});
  const uint16_t bf16[] = {0x3fc0, 0xc000, 0x7f80};
  CHECK(decode_bytes_of(DType::bf16, bf16) ==
        std::vector<float>{1.5f, -2.0f, std::numeric_limits<float>::infinity()});
}

// Formats that no fixture covers, from their definitions.
TEST_CASE("decode: q8_1 and q8_K multiply by their scale and ignore their sums") {
  BlockQ8_1 small{};
  small.d = 0xb800;  // -0.5
  small.s = 0x7e00;  // NaN
  BlockQ8_K large{};
  large.d = 0.25f;
  for (int16_t& sum : large.bsums) sum = 12345;
  for (int j = 0; j < 32; ++j) small.qs[j] = int8_t(4 * j - 64);
  for (int j = 0; j < 256; ++j) large.qs[j] = int8_t(j - 128);
  const std::vector<float> small_out = decode_bytes_of(DType::q8_1, small);
  const std::vector<float> large_out = decode_bytes_of(DType::q8_K, large);
  for (int j = 0; j < 32; ++j) CHECK(small_out[size_t(j)] == -0.5f * float(4 * j - 64));
  for (int j = 0; j < 256; ++j) CHECK(large_out[size_t(j)] == 0.25f * float(j - 128));
}

TEST_CASE("decode: mxfp4 over its whole range of exponents") {
  // E2M1: two exponent bits (bias 1), one mantissa bit.
  constexpr double kE2M1[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
  for (int e = 0; e < 256; ++e) {
    BlockMXFP4 block{};
    block.e = uint8_t(e);
    for (int j = 0; j < 16; ++j) block.qs[j] = uint8_t(j * 17);
    const std::vector<float> out = decode_bytes_of(DType::mxfp4, block);
    for (int j = 0; j < 32; ++j) {
      const double magnitude = std::ldexp(kE2M1[j % 8], e - 127);
      CHECK(double(out[size_t(j)]) == double(float(j % 16 < 8 ? magnitude : -magnitude)));
    }
  }
}

// FNV-1a over the rows as bytes. The expected values were computed from ggml-common.h's tables.
template <class T, int n, int width>
uint64_t hash_of(const Grid<T, n, width>& grid) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const auto& row : grid.rows) {
    for (const T number : row) hash = (hash ^ uint8_t(number)) * 0x100000001b3u;
  }
  return hash;
}

TEST_CASE("code books: every row is ggml's") {
  CHECK(hash_of(kIq1Grid) == 0x6703ed863501ae2eu);
  CHECK(hash_of(kIq2XxsGrid) == 0xbb4ee025b5ac6e8eu);
  CHECK(hash_of(kIq2XsGrid) == 0xc9b1ee61e79909bdu);
  CHECK(hash_of(kIq2SGrid) == 0x123edd38a3b62b90u);
  CHECK(hash_of(kIq3XxsGrid) == 0xdfa5dc83d6a155d5u);
  CHECK(hash_of(kIq3SGrid) == 0xfa37020c25b44829u);
}

TEST_CASE("decode: any bytes decode, block by block, inside the output, the same each time") {
  test::Random random(12);
  for (int t = 0; t < kDTypeCount; ++t) {
    const DTypeInfo& info = dtype_info(DType(t));
    CAPTURE(info.name);
    constexpr size_t kBlocks = 200;
    const size_t block_bytes = size_t(info.block_bytes);
    std::vector<std::byte> src(block_bytes * kBlocks);
    for (std::byte& b : src) b = std::byte(random.next());
    const size_t n = size_t(info.block_elems) * kBlocks;
    constexpr float kGuard = 12345.0f;
    std::vector<float> all(n + 1, kGuard);
    decode(DType(t), src.data(), all.data(), int64_t(n));
    CHECK(all[n] == kGuard);
    std::vector<float> single(size_t(info.block_elems));
    for (size_t i = 0; i < kBlocks; ++i) {
      decode(DType(t), src.data() + i * block_bytes, single.data(), info.block_elems);
      const size_t bytes = single.size() * sizeof(float);
      CHECK(std::memcmp(single.data(), all.data() + i * single.size(), bytes) == 0);
    }
    decode(DType(t), nullptr, nullptr, 0);
  }
}

TEST_CASE("decode: i4g is d (q - z) with 16 bytes for each 32 numbers") {
  BlockI4G<64> block{.d = 0x3800, .z = 16, .q = {}};  // 0.5
  for (int j = 0; j < 32; ++j) block.q[j] = uint8_t(j * 5 % 16 | (j * 3 % 16) << 4);
  std::vector<float> out(64);
  decode(DType::i4g64, reinterpret_cast<const std::byte*>(&block), out.data(), 64);
  for (int k = 0; k < 64; ++k) {
    const int j = k / 32 * 16 + k % 16;  // byte of number k; its high half where k % 32 >= 16
    const int q = k % 32 < 16 ? j * 5 % 16 : j * 3 % 16;
    CHECK(out[size_t(k)] == 0.5f * float(q - 16));
  }
}

}  // namespace
}  // namespace lm
