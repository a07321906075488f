// Storing keys and values in the paged cache (kv_layout.h): a row is converted as a vector, then
// a key's items are spread over the rows of its block.
#include <algorithm>
#include <array>
#include <cstring>

#include "backends/cpu/kv_layout.h"
#include "backends/cpu/ops.h"
#include "engine/core/check.h"

namespace lm::cpu {
namespace {

constexpr int64_t kDims = 256;          // converted at a time; a multiple of 32
constexpr int64_t kRowsPerPiece = 32;   // tokens of one piece of work
constexpr int64_t kAloneBelow = 16384;  // numbers that are not worth waking the others for

// Up to kDims dimensions of one token as the cache holds them.
struct Converted {
  alignas(64) std::array<float, kDims> items;  // or uint16, or int8
  std::array<uint16_t, kDims / 32> scales;
  std::byte* bytes() { return reinterpret_cast<std::byte*>(items.data()); }
};

void convert(const Kernels& kernels, DType dtype, const float* x, int64_t n, Converted& out) {
  switch (dtype) {
    case DType::f32:
      std::memcpy(out.bytes(), x, size_t(n) * 4);
      return;
    case DType::f16:
      kernels.f32_to_f16(x, n, reinterpret_cast<uint16_t*>(out.bytes()));
      return;
    default:
      kernels.f32_to_q8_0(x, n, out.scales.data(), reinterpret_cast<int8_t*>(out.bytes()));
  }
}

// Items of a known size are moved by single instructions.
template <int kItemBytes>
void spread(const std::byte* items, int64_t n, int64_t stride, std::byte* dst) {
  for (int64_t i = 0; i < n; ++i) {
    std::memcpy(dst + i * stride * kItemBytes, items + i * kItemBytes, kItemBytes);
  }
}

struct Place {
  const KvLayoutOfHead& layout;
  std::byte* head;  // the bytes of the block and head
  int64_t token;    // within the block
};

void store_scales(const Place& to, int64_t d, int64_t n, const Converted& from) {
  if (to.layout.dtype != DType::q8_0) return;
  for (int64_t b = 0; b < n / 32; ++b) {
    std::memcpy(to.head + to.layout.scale(d / 32 + b, to.token), &from.scales[size_t(b)], 2);
  }
}

void store_key(const Kernels& kernels, const float* x, const Place& to) {
  const KvLayoutOfHead& layout = to.layout;
  const int64_t dims_per_row = layout.head_dim / layout.key_rows();
  Converted converted;
  for (int64_t d = 0; d < layout.head_dim; d += kDims) {
    const int64_t n = std::min(kDims, layout.head_dim - d);
    convert(kernels, layout.dtype, x + d, n, converted);
    std::byte* dst = to.head + layout.key(d / dims_per_row, to.token);
    if (layout.key_item_bytes() == 4) {
      spread<4>(converted.bytes(), n, layout.block_size, dst);
    } else {
      spread<2>(converted.bytes(), n / dims_per_row, layout.block_size, dst);
    }
    store_scales(to, d, n, converted);
  }
}

void store_value(const Kernels& kernels, const float* x, const Place& to) {
  const KvLayoutOfHead& layout = to.layout;
  Converted converted;
  for (int64_t d = 0; d < layout.head_dim; d += kDims) {
    const int64_t n = std::min(kDims, layout.head_dim - d);
    convert(kernels, layout.dtype, x + d, n, converted);
    std::memcpy(to.head + layout.value(to.token) + d * layout.value_bytes(), converted.bytes(),
                size_t(n * layout.value_bytes()));
    store_scales(to, d, n, converted);
  }
}

}  // namespace

void kv_write(const Context& context, const KvWrite& op, const StepView& step) {
  const int64_t n = op.k.shape[1], n_heads = op.k.shape[2], head_dim = op.k.shape[3];
  LM_CHECK(op.k.dtype == DType::f32 && op.v.dtype == DType::f32 && op.v.shape == op.k.shape);
  LM_CHECK(op.k_cache.shape == op.v_cache.shape && op.k_cache.shape[1] == n_heads);
  LM_CHECK(op.k_cache.dtype == op.v_cache.dtype);
  LM_CHECK(op.k_cache.row_bytes == int64_t(row_bytes(op.k_cache.dtype, head_dim)));
  LM_CHECK(op.k_cache.shape[2] == step.block_size && op.k_cache.shape[3] == head_dim);
  LM_CHECK(op.k_cache.dtype != DType::q8_0 || head_dim % 32 == 0);
  const KvLayoutOfHead layout = layout_of(op.k_cache);
  const auto write = [&](int64_t row, int64_t head) {
    const int64_t slot = i32(step.slots)[row];
    if (slot < 0) return;
    const int64_t block = slot / step.block_size, token = slot % step.block_size;
    LM_CHECK(block < op.k_cache.shape[0]);
    const int64_t offset = (block * n_heads + head) * layout.bytes(), source = row * n_heads + head;
    store_key(context.kernels, f32_row(op.k, source), {layout, op.k_cache.data() + offset, token});
    store_value(context.kernels, f32_row(op.v, source),
                {layout, op.v_cache.data() + offset, token});
  };
  const bool alone = n * n_heads * head_dim < kAloneBelow;
  const int64_t rows_per_piece = alone ? std::max<int64_t>(n, 1) : kRowsPerPiece;
  const int64_t heads_per_piece = alone ? n_heads : 1;
  const int64_t n_pieces = (n + rows_per_piece - 1) / rows_per_piece;
  // A piece is one head of a few rows that mostly share a block, so that threads don't write to the
  // same lines.
  context.pool.parallel_for(n_pieces * (n_heads / heads_per_piece), [&](int64_t piece, int) {
    const int64_t first = piece % n_pieces * rows_per_piece;
    const int64_t first_head = piece / n_pieces * heads_per_piece;
    for (int64_t head = first_head; head < first_head + heads_per_piece; ++head) {
      for (int64_t row = first; row < std::min(n, first + rows_per_piece); ++row) write(row, head);
    }
  });
}

}  // namespace lm::cpu
