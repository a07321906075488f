// backends/cpu/kv_layout.h — where a head's keys and values lie within a block of the KV cache.
// Keys lie dimension by dimension, so that the lanes of a vector are keys and a score needs no sum
// over lanes; values key by key, so that lanes are dimensions. The bytes of one block and head,
// B = block_size tokens of D = head_dim dimensions:
//   K f32, f16  [D][B]
//   V f32, f16  [B][D]
//   K q8_0      f16 scales [D/32][B], then bytes [D/2][B][2]: two dimensions of a key together
//   V q8_0      f16 scales [D/32][B], then bytes [B][D]
// Together they are as many bytes as B rows of the type; a block is copied as a whole.
#pragma once
#include <cstdint>

#include "backends/tensor.h"

namespace lm::cpu {

struct KvLayoutOfHead {
  DType dtype;
  int64_t block_size, head_dim;

  int64_t bytes() const { return bytes_before(block_size); }
  int64_t bytes_before(int64_t token) const {  // its share of the block
    return token * int64_t(row_bytes(dtype, head_dim));
  }
  int64_t scale_bytes() const { return dtype == DType::q8_0 ? head_dim / 32 * block_size * 2 : 0; }
  int64_t scale(int64_t block_of_32, int64_t token) const {
    return (block_of_32 * block_size + token) * 2;
  }
  // K: rows of one item per token.
  int64_t key_rows() const { return dtype == DType::q8_0 ? head_dim / 2 : head_dim; }
  int64_t key_item_bytes() const { return dtype == DType::f32 ? 4 : 2; }
  int64_t key(int64_t row, int64_t token) const {
    return scale_bytes() + (row * block_size + token) * key_item_bytes();
  }
  // V: rows of one token each.
  int64_t value_bytes() const {
    return dtype == DType::f32 ? 4 : dtype == DType::f16 ? 2 : 1;
  }  // of one dimension
  int64_t value(int64_t token) const { return scale_bytes() + token * head_dim * value_bytes(); }
};

inline KvLayoutOfHead layout_of(Tensor cache) {
  return {cache.dtype, cache.shape[2], cache.shape[3]};
}

}  // namespace lm::cpu
