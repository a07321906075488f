#include "quant/int_matrix.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/core/check.h"
#include "quant/blocks.h"
#include "quant/half.h"

namespace lm {
namespace {

// qs = 32 numbers below 16 in halves order.
void pack_nibbles(const uint8_t* q, int offset, uint8_t* qs) {
  for (int j = 0; j < 16; ++j)
    qs[j] = uint8_t(((q[j] + offset) & 15) | ((q[j + 16] + offset) & 15) << 4);
}

// Each block holds q + offset.
void fill(BlockQ4_0& block, const uint8_t* q, int offset) {
  pack_nibbles(q, offset, block.qs);
}

void fill(BlockQ5_0& block, const uint8_t* q, int offset) {
  pack_nibbles(q, offset, block.qs);
  std::fill_n(block.qh, 4, uint8_t{0});
  for (int j = 0; j < 32; ++j) {
    const int bit = (q[j] + offset) >> 4 & 1;
    block.qh[j / 8] = uint8_t(block.qh[j / 8] | bit << (j % 8));
  }
}

void fill(BlockQ8_0& block, const uint8_t* q, int offset) {
  for (int j = 0; j < 32; ++j) block.qs[j] = int8_t(q[j] + offset);
}

// `middle`: the difference q - zero = 0 is stored as this.
template <class Block>
void encode_symmetric(const IntMatrix& matrix, int64_t row, const uint8_t* q, const int32_t* groups,
                      int middle, std::byte* dst) {
  for (int64_t k = 0; k < matrix.cols; k += Block::kElems, dst += sizeof(Block)) {
    Block block;
    block.d = f32_to_f16(matrix.scale(row, groups[k]));
    fill(block, q + k, middle - matrix.zero(row, groups[k]));
    std::memcpy(dst, &block, sizeof block);
  }
}

template <int kGroup>
void encode_asymmetric(const IntMatrix& matrix, int64_t row, const uint8_t* q,
                       const int32_t* groups, std::byte* dst) {
  using Block = BlockI4G<kGroup>;
  for (int64_t k = 0; k < matrix.cols; k += kGroup, dst += sizeof(Block)) {
    Block block;
    block.d = f32_to_f16(matrix.scale(row, groups[k]));
    block.z = uint8_t(matrix.zero(row, groups[k]));
    for (int i = 0; i < kGroup; i += 32) pack_nibbles(q + k + i, 0, block.q + i / 2);
    std::memcpy(dst, &block, sizeof block);
  }
}

bool is_uniform(const IntMatrix& matrix, const Order& order, int64_t run) {
  if (matrix.cols % run != 0) return false;
  const auto group = [&](int64_t j) { return matrix.group(order ? (*order)[size_t(j)] : j); };
  for (int64_t j = 0; j < matrix.cols; ++j) {
    if (group(j) != group(j - j % run)) return false;
  }
  return true;
}

}  // namespace

float IntMatrix::scale(int64_t row, int64_t group) const {
  const int64_t at = row * scale_row_step + group * scale_group_step;
  if (scale_type == DType::f32) {
    float value;
    std::memcpy(&value, scales + at * 4, sizeof value);
    return value;
  }
  uint16_t half;
  std::memcpy(&half, scales + at * 2, sizeof half);
  return scale_type == DType::f16 ? f16_to_f32(half) : bf16_to_f32(half);
}

int IntMatrix::zero(int64_t row, int64_t group) const {
  if (zeros.data == nullptr) return constant_zero;
  return zeros_along_groups ? packed_field(zeros, row, group) : packed_field(zeros, group, row);
}

void IntMatrix::read_row(int64_t row, uint8_t* out) const {
  if (q_along_cols) return read_packed_stream(q, row, cols, out);
  for (int64_t k = 0; k < cols; ++k) out[k] = uint8_t(packed_field(q, k, row));
}

IntMatrixRange range_of(const IntMatrix& matrix) {
  IntMatrixRange range;
  for (int64_t row = 0; row < matrix.rows; ++row) {
    for (int64_t g = 0; g < matrix.n_groups; ++g) {
      const float s = matrix.scale(row, g);
      const int zero = matrix.zero(row, g);
      range.scales_finite = range.scales_finite && std::isfinite(s);
      range.scales_exact_in_f16 = range.scales_exact_in_f16 && f16_to_f32(f32_to_f16(s)) == s;
      range.scales_below_f16_max = range.scales_below_f16_max && std::fabs(s) <= 65504.0f;
      range.least_zero = std::min(range.least_zero, zero);
      range.greatest_zero = std::max(range.greatest_zero, zero);
    }
  }
  return range;
}

int64_t uniform_run(const IntMatrix& matrix, const Order& order) {
  for (const int64_t run : {128, 64, 32}) {
    if (is_uniform(matrix, order, run)) return run;
  }
  return 0;
}

std::optional<DType> exact_type(int bits, const IntMatrixRange& range, int64_t run,
                                bool standard_only) {
  if (run == 0) return std::nullopt;
  const int least = -range.greatest_zero, greatest = (1 << bits) - 1 - range.least_zero;
  if (least >= -8 && greatest <= 7) return DType::q4_0;
  if (bits <= 4 && !standard_only) {
    return run == 128 ? DType::i4g128 : run == 64 ? DType::i4g64 : DType::i4g32;
  }
  if (least >= -16 && greatest <= 15) return DType::q5_0;
  if (least >= -128 && greatest <= 127) return DType::q8_0;
  return std::nullopt;
}

IntRowEncoder::IntRowEncoder(const IntMatrix& matrix, Order order, DType type)
    : matrix_(matrix),
      order_(std::move(order)),
      type_(type),
      stored_(size_t(matrix.cols)),
      q_(size_t(matrix.cols)),
      group_(size_t(matrix.cols)) {
  for (size_t j = 0; j < group_.size(); ++j)
    group_[j] = int32_t(matrix.group(order_ ? (*order_)[j] : int64_t(j)));
}

void IntRowEncoder::read(int64_t row) {
  if (!order_) return matrix_.read_row(row, q_.data());
  matrix_.read_row(row, stored_.data());
  for (size_t j = 0; j < q_.size(); ++j) q_[j] = stored_[size_t((*order_)[j])];
}

void IntRowEncoder::encode(int64_t row, std::byte* dst) {
  read(row);
  switch (type_) {
    case DType::q4_0:
      return encode_symmetric<BlockQ4_0>(matrix_, row, q_.data(), group_.data(), 8, dst);
    case DType::q5_0:
      return encode_symmetric<BlockQ5_0>(matrix_, row, q_.data(), group_.data(), 16, dst);
    case DType::q8_0:
      return encode_symmetric<BlockQ8_0>(matrix_, row, q_.data(), group_.data(), 0, dst);
    case DType::i4g32:
      return encode_asymmetric<32>(matrix_, row, q_.data(), group_.data(), dst);
    case DType::i4g64:
      return encode_asymmetric<64>(matrix_, row, q_.data(), group_.data(), dst);
    case DType::i4g128:
      return encode_asymmetric<128>(matrix_, row, q_.data(), group_.data(), dst);
    default:
      LM_CHECK(false);
  }
}

void IntRowEncoder::numbers(int64_t row, float* out) {
  read(row);
  int64_t last = -1;
  float scale = 0;
  int zero = 0;
  for (size_t j = 0; j < q_.size(); ++j) {
    if (group_[j] != last) {
      last = group_[j];
      scale = matrix_.scale(row, last);
      zero = matrix_.zero(row, last);
    }
    out[j] = scale * float(int(q_[j]) - zero);
  }
}

}  // namespace lm
