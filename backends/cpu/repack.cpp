#include "backends/cpu/repack.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "engine/core/check.h"

namespace lm::cpu {
namespace {

// A run of `count` units of `bytes` each in a stored block.
struct Field {
  int bytes, count;
};

// What the kernels know of a type: its format, and the fields of its block in the file's order
// (quant/blocks.h).
struct NativeType {
  DType type;
  WeightFormat format;
  std::array<Field, 3> fields;
};
constexpr NativeType kNativeTypes[] = {
    {DType::f32, WeightFormat::f32, {{{4, 1}}}},
    {DType::f16, WeightFormat::f16, {{{2, 1}}}},
    {DType::bf16, WeightFormat::bf16, {{{2, 1}}}},
    {DType::q4_0, WeightFormat::q4_0, {{{2, 1}, {4, 4}}}},
    {DType::q4_1, WeightFormat::q4_1, {{{2, 2}, {4, 4}}}},
    {DType::q5_0, WeightFormat::q5_0, {{{2, 1}, {4, 5}}}},
    {DType::q5_1, WeightFormat::q5_1, {{{2, 2}, {4, 5}}}},
    {DType::q8_0, WeightFormat::q8_0, {{{2, 1}, {4, 8}}}},
    {DType::q2_K, WeightFormat::q2_K, {{{4, 20}, {2, 2}}}},
    {DType::q3_K, WeightFormat::q3_K, {{{4, 27}, {2, 1}}}},
    {DType::q4_K, WeightFormat::q4_K, {{{2, 2}, {4, 35}}}},
    {DType::q5_K, WeightFormat::q5_K, {{{2, 2}, {4, 43}}}},
    {DType::q6_K, WeightFormat::q6_K, {{{4, 52}, {2, 1}}}},
    {DType::iq4_NL, WeightFormat::iq4_NL, {{{2, 1}, {4, 4}}}},
    {DType::mxfp4, WeightFormat::mxfp4, {{{1, 1}, {4, 4}}}},
    {DType::i4g32, WeightFormat::i4g32, {{{2, 1}, {1, 1}, {4, 4}}}},
    {DType::i4g64, WeightFormat::i4g64, {{{2, 1}, {1, 1}, {4, 8}}}},
    {DType::i4g128, WeightFormat::i4g128, {{{2, 1}, {1, 1}, {4, 16}}}},
    {DType::iq4_XS, WeightFormat::iq4_XS, {{{2, 2}, {4, 33}}}},
    {DType::iq1_S, WeightFormat::iq1_S, {{{2, 1}, {4, 12}}}},
    {DType::iq1_M, WeightFormat::iq1_M, {{{4, 14}}}},
    {DType::iq2_XXS, WeightFormat::iq2_XXS, {{{2, 1}, {4, 16}}}},
    {DType::iq2_XS, WeightFormat::iq2_XS, {{{2, 1}, {4, 18}}}},
    {DType::iq2_S, WeightFormat::iq2_S, {{{2, 1}, {4, 20}}}},
    {DType::iq3_XXS, WeightFormat::iq3_XXS, {{{2, 1}, {4, 24}}}},
    {DType::iq3_S, WeightFormat::iq3_S, {{{2, 1}, {4, 27}}}},
    {DType::tq1_0, WeightFormat::tq1_0, {{{4, 13}, {2, 1}}}},
    {DType::tq2_0, WeightFormat::tq2_0, {{{4, 16}, {2, 1}}}},
};

const NativeType* native_type(DType type) {
  for (const NativeType& native : kNativeTypes) {
    if (native.type == type) return &native;
  }
  return nullptr;
}

using Quad = int32_t __attribute__((vector_size(16)));  // four units

// Four units of each of four rows, turned so that each unit's rows lie together, `lanes` apart.
void interleave_quad(const std::byte* const* rows, int64_t offset, int lanes, std::byte* dst) {
  Quad a, b, c, d;
  std::memcpy(&a, rows[0] + offset, 16);
  std::memcpy(&b, rows[1] + offset, 16);
  std::memcpy(&c, rows[2] + offset, 16);
  std::memcpy(&d, rows[3] + offset, 16);
  const Quad ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5);
  const Quad ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  const Quad cd_low = __builtin_shufflevector(c, d, 0, 4, 1, 5);
  const Quad cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  const Quad turned[4] = {__builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5),
                          __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7),
                          __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5),
                          __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7)};
  for (int unit = 0; unit < 4; ++unit) std::memcpy(dst + unit * lanes * 4, &turned[unit], 16);
}

// Copies one field of each of n_rows rows (the panel's others become zero) into `dst`.
template <int kBytes>
std::byte* interleave_field(const std::byte* const* rows, int n_rows, int lanes, int64_t offset,
                            int count, std::byte* dst) {
  int unit = 0;
  if (kBytes == 4 && n_rows == lanes && lanes % 4 == 0) {
    for (; unit + 4 <= count; unit += 4, offset += 16, dst += 16 * lanes) {
      for (int r = 0; r < lanes; r += 4) interleave_quad(rows + r, offset, lanes, dst + r * 4);
    }
  }
  for (; unit < count; ++unit, offset += kBytes) {
    for (int r = 0; r < lanes; ++r, dst += kBytes) {
      if (r < n_rows) {
        std::memcpy(dst, rows[r] + offset, kBytes);
      } else {
        std::memset(dst, 0, kBytes);
      }
    }
  }
  return dst;
}

}  // namespace

std::optional<WeightFormat> native_format(DType type) {
  const NativeType* native = native_type(type);
  return native != nullptr ? std::optional(native->format) : std::nullopt;
}

size_t panel_bytes(DType type, int64_t k, int lanes) {
  return row_bytes(type, k) * size_t(lanes);
}

size_t panels_bytes(DType type, int64_t m, int64_t k, int lanes) {
  return panel_bytes(type, k, lanes) * size_t((m + lanes - 1) / lanes);
}

void interleave(DType type, const std::byte* rows, int64_t stride, int n_rows, int64_t bytes,
                int lanes, std::byte* dst) {
  constexpr int kMaxLanes = 16;
  const NativeType* native = native_type(type);
  LM_CHECK(lanes <= kMaxLanes && native != nullptr && n_rows <= lanes);
  const std::byte* sources[kMaxLanes];
  for (int r = 0; r < n_rows; ++r) sources[r] = rows + r * stride;
  const int64_t block_bytes = dtype_info(type).block_bytes;
  for (int64_t block = 0; block < bytes; block += block_bytes) {
    int64_t offset = block;
    for (const Field& field : native->fields) {
      const auto copy = field.bytes == 4   ? interleave_field<4>
                        : field.bytes == 2 ? interleave_field<2>
                                           : interleave_field<1>;
      dst = copy(sources, n_rows, lanes, offset, field.count, dst);
      offset += field.bytes * field.count;
    }
  }
}

void repack(DType type, const std::byte* rows, int64_t n_matrices, int64_t m, int64_t k, int lanes,
            ThreadPool& pool, std::byte* dst) {
  const int64_t stride = int64_t(row_bytes(type, k));
  const int64_t n_panels = (m + lanes - 1) / lanes;
  const int64_t matrix_bytes = int64_t(panels_bytes(type, m, k, lanes));
  pool.parallel_for(n_matrices * n_panels, [&](int64_t item, int) {
    const int64_t matrix = item / n_panels, panel = item % n_panels;
    interleave(type, rows + (matrix * m + panel * lanes) * stride, stride,
               int(std::min<int64_t>(lanes, m - panel * lanes)), stride, lanes,
               dst + matrix * matrix_bytes + panel * stride * lanes);
  });
}

}  // namespace lm::cpu
