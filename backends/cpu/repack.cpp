#include "backends/cpu/repack.h"

#include <algorithm>
#include <cstring>
#include <span>

#include "engine/core/check.h"

namespace lm::cpu {
namespace {

// A run of `count` units of `bytes` each in a stored block.
struct Field {
  int bytes, count;
};

// The fields of a block in the file's order (sizes: quant/blocks.h).
std::span<const Field> fields(DType type) {
  static constexpr Field kF32[] = {{4, 1}};
  static constexpr Field kF16[] = {{2, 1}};
  static constexpr Field kQ8_0[] = {{2, 1}, {4, 8}};
  static constexpr Field kQ4_0[] = {{2, 1}, {4, 4}};
  static constexpr Field kQ4_K[] = {{2, 2}, {4, 3}, {4, 32}};
  static constexpr Field kQ6_K[] = {{4, 32}, {4, 16}, {4, 4}, {2, 1}};
  switch (type) {
    case DType::f32:
      return kF32;
    case DType::f16:
    case DType::bf16:
      return kF16;
    case DType::q8_0:
      return kQ8_0;
    case DType::q4_0:
      return kQ4_0;
    case DType::q4_K:
      return kQ4_K;
    case DType::q6_K:
      return kQ6_K;
    default:
      return {};
  }
}

// Copies one block of each of n_rows rows (the panel's others become zero) into `dst`.
template <int kBytes>
std::byte* interleave(const std::byte* const* rows, int n_rows, int lanes, int64_t offset,
                      int count, std::byte* dst) {
  for (int unit = 0; unit < count; ++unit, offset += kBytes) {
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
  switch (type) {
    case DType::f32:
      return WeightFormat::f32;
    case DType::f16:
      return WeightFormat::f16;
    case DType::bf16:
      return WeightFormat::bf16;
    case DType::q8_0:
      return WeightFormat::q8_0;
    case DType::q4_0:
      return WeightFormat::q4_0;
    case DType::q4_K:
      return WeightFormat::q4_K;
    case DType::q6_K:
      return WeightFormat::q6_K;
    default:
      return std::nullopt;
  }
}

size_t panel_bytes(DType type, int64_t k, int lanes) {
  return row_bytes(type, k) * size_t(lanes);
}

size_t panels_bytes(DType type, int64_t m, int64_t k, int lanes) {
  return panel_bytes(type, k, lanes) * size_t((m + lanes - 1) / lanes);
}

void repack(DType type, const std::byte* rows, int64_t n_matrices, int64_t m, int64_t k, int lanes,
            ThreadPool& pool, std::byte* dst) {
  constexpr int kMaxLanes = 16;
  LM_CHECK(lanes <= kMaxLanes && native_format(type));
  const int64_t stride = int64_t(row_bytes(type, k));
  const int64_t block_bytes = dtype_info(type).block_bytes;
  const int64_t n_panels = (m + lanes - 1) / lanes;
  const int64_t matrix_bytes = int64_t(panels_bytes(type, m, k, lanes));
  pool.parallel_for(n_matrices * n_panels, [&](int64_t item, int) {
    const int64_t matrix = item / n_panels, panel = item % n_panels;
    const int n_rows = int(std::min<int64_t>(lanes, m - panel * lanes));
    const std::byte* sources[kMaxLanes];
    for (int r = 0; r < n_rows; ++r) {
      sources[r] = rows + (matrix * m + panel * lanes + r) * stride;
    }
    std::byte* out = dst + matrix * matrix_bytes + panel * stride * lanes;
    for (int64_t block = 0; block < stride; block += block_bytes) {
      int64_t offset = block;
      for (const Field& field : fields(type)) {
        out = field.bytes == 4 ? interleave<4>(sources, n_rows, lanes, offset, field.count, out)
                               : interleave<2>(sources, n_rows, lanes, offset, field.count, out);
        offset += field.bytes * field.count;
      }
    }
  });
}

}  // namespace lm::cpu
