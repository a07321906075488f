#include "quant/gptq_layout.h"

#include <algorithm>
#include <cstring>

#include "engine/core/check.h"
#include "quant/blocks.h"
#include "quant/packed_ints.h"

namespace lm {
namespace {

// One block: its numbers are d (q - zero).
struct Integers {
  uint16_t d = 0;
  int zero = 0;
  uint8_t q[128];
};

void unpack_nibbles(const uint8_t* qs, uint8_t* q) {
  for (int j = 0; j < 16; ++j) {
    q[j] = qs[j] & 15;
    q[j + 16] = qs[j] >> 4;
  }
}

template <class Block>
Block load(const std::byte* at) {
  Block block;
  std::memcpy(&block, at, sizeof block);
  return block;
}

template <int kGroup>
Integers unpack_group(const std::byte* at) {
  const auto block = load<BlockI4G<kGroup>>(at);
  Integers out{.d = block.d, .zero = block.z, .q = {}};
  for (int i = 0; i < kGroup; i += 32) unpack_nibbles(block.q + i / 2, out.q + i);
  return out;
}

Integers unpack_q4_0(const std::byte* at) {
  const auto block = load<BlockQ4_0>(at);
  Integers out{.d = block.d, .zero = 8, .q = {}};
  unpack_nibbles(block.qs, out.q);
  return out;
}

Integers unpack_q5_0(const std::byte* at) {
  const auto block = load<BlockQ5_0>(at);
  Integers out{.d = block.d, .zero = 16, .q = {}};
  unpack_nibbles(block.qs, out.q);
  for (int j = 0; j < 32; ++j) out.q[j] = uint8_t(out.q[j] | (block.qh[j / 8] >> (j % 8) & 1) << 4);
  return out;
}

Integers unpack_q8_0(const std::byte* at) {
  const auto block = load<BlockQ8_0>(at);
  Integers out{.d = block.d, .zero = 128, .q = {}};
  for (int j = 0; j < 32; ++j) out.q[j] = uint8_t(block.qs[j] + 128);
  return out;
}

using Unpack = Integers (*)(const std::byte*);

// Fewest bits of a module that holds the type's numbers; 0 where none does.
struct TypeRow {
  DType type;
  Unpack unpack;
  int bits;
};
constexpr TypeRow kTypes[] = {
    {DType::q4_0, unpack_q4_0, 4},       {DType::q5_0, unpack_q5_0, 8},
    {DType::q8_0, unpack_q8_0, 8},       {DType::i4g32, unpack_group<32>, 4},
    {DType::i4g64, unpack_group<64>, 4}, {DType::i4g128, unpack_group<128>, 4},
};

const TypeRow* row_of(DType type) {
  const auto* row = std::ranges::find(kTypes, type, &TypeRow::type);
  return row == std::end(kTypes) ? nullptr : row;
}

// Whether each group has one scale and zero-point, and `bits` hold every q around `middle`.
struct Fit {
  bool uniform = true, small = true, symmetric = true, zeros_fit = true;
};

Fit fit(const StoredMatrix& m, const TypeRow& type, const GptqShape& shape) {
  const DTypeInfo& info = dtype_info(m.type);
  const int middle = 1 << (shape.bits - 1), levels = 1 << shape.bits;
  Fit found;
  const std::byte* at = m.blocks;
  for (int64_t row = 0; row < m.rows; ++row) {
    Integers first{};
    for (int64_t k = 0; k < m.cols; k += info.block_elems, at += info.block_bytes) {
      const Integers block = type.unpack(at);
      if (k % shape.group == 0) first = block;
      found.uniform = found.uniform && block.d == first.d && block.zero == first.zero;
      found.zeros_fit = found.zeros_fit && block.zero < levels;
      found.symmetric = found.symmetric && (!is_i4g(m.type) || block.zero == middle);
      if (is_i4g(m.type) && shape.bits == 4) continue;
      const int shift = is_i4g(m.type) ? 0 : middle - block.zero;
      for (int j = 0; j < info.block_elems; ++j) {
        const int q = block.q[j] + shift;
        found.small = found.small && q >= 0 && q < levels;
      }
    }
  }
  return found;
}

}  // namespace

std::optional<GptqShape> gptq_shape(const StoredMatrix& matrix, std::optional<GptqShape> wanted) {
  const TypeRow* type = row_of(matrix.type);
  if (type == nullptr || matrix.cols % 32 != 0) return std::nullopt;
  const int64_t block = dtype_info(matrix.type).block_elems;
  std::vector<GptqShape> candidates;
  if (wanted && wanted->group >= block && wanted->group % block == 0) {
    candidates.push_back(*wanted);
    candidates.push_back({.bits = type->bits, .group = wanted->group});
  }
  candidates.push_back({.bits = type->bits, .group = block});
  for (GptqShape shape : candidates) {
    const bool writable = shape.bits == 2 || shape.bits == 3 || shape.bits == 4 || shape.bits == 8;
    if (!writable || matrix.rows * shape.bits % 32 != 0) continue;
    const Fit found = fit(matrix, *type, shape);
    if (!found.uniform || !found.small || (is_i4g(matrix.type) && !found.zeros_fit)) continue;
    shape.symmetric = found.symmetric;
    return shape;
  }
  return std::nullopt;
}

GptqTensors gptq_tensors(const StoredMatrix& m, const GptqShape& shape,
                         std::span<const int32_t> rows, std::span<const int32_t> cols) {
  const TypeRow* type = row_of(m.type);
  LM_CHECK(type != nullptr && (rows.empty() || int64_t(rows.size()) == m.rows) &&
           (cols.empty() || int64_t(cols.size()) == m.cols));
  const DTypeInfo& info = dtype_info(m.type);
  const int64_t n_groups = (m.cols + shape.group - 1) / shape.group;
  const int64_t zero_words = m.rows * shape.bits / 32;
  const int middle = 1 << (shape.bits - 1);
  GptqTensors out;
  out.qweight.resize(size_t(m.cols / 32 * shape.bits * m.rows));
  out.qzeros.resize(size_t(n_groups * zero_words));
  out.scales.resize(size_t(n_groups * m.rows));
  for (int64_t k = 0; k < m.cols; ++k)
    out.g_idx.push_back(int32_t((cols.empty() ? k : cols[size_t(k)]) / shape.group));

  std::vector<uint8_t> stored(size_t(m.cols), 0), q(size_t(m.cols), 0);
  std::vector<uint8_t> zeros(size_t(n_groups * m.rows), 0);
  const int64_t row_length = int64_t(row_bytes(m.type, m.cols));
  for (int64_t n = 0; n < m.rows; ++n) {
    const std::byte* at = m.blocks + (rows.empty() ? n : rows[size_t(n)]) * row_length;
    for (int64_t k = 0; k < m.cols; k += info.block_elems, at += info.block_bytes) {
      const Integers block = type->unpack(at);
      const int shift = is_i4g(m.type) ? 0 : middle - block.zero;
      for (int j = 0; j < info.block_elems; ++j)
        stored[size_t(k + j)] = uint8_t(block.q[j] + shift);
      out.scales[size_t(k / shape.group * m.rows + n)] = block.d;
      zeros[size_t(k / shape.group * m.rows + n)] = uint8_t(block.zero + shift);
    }
    for (int64_t k = 0; k < m.cols; ++k)
      q[size_t(k)] = stored[size_t(cols.empty() ? k : cols[size_t(k)])];
    write_packed_stream(q.data(), m.cols, shape.bits, m.rows, out.qweight.data() + n);
  }
  for (int64_t g = 0; g < n_groups; ++g)
    write_packed_stream(zeros.data() + g * m.rows, m.rows, shape.bits, 1,
                        out.qzeros.data() + g * zero_words);
  return out;
}

}  // namespace lm
