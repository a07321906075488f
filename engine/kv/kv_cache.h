// engine/kv/kv_cache.h — the memory behind the blocks: K and V of every layer, reserved once.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "backends/backend.h"
#include "engine/core/result.h"

namespace lm {

struct KvLayout {
  int n_layers = 0, n_kv_heads = 0, head_dim = 0;
  int block_size = 32;         // tokens
  DType dtype = DType::f16;    // f32, f16, q8_0 (head_dim a multiple of 32)
};

// Bytes of one block over all layers, K and V.
uint64_t kv_block_bytes(const KvLayout& layout);

class KvCache {
 public:
  static Result<KvCache> allocate(Backend& backend, const KvLayout& layout, int n_blocks);
  const KvLayout& layout() const { return layout_; }
  int n_blocks() const { return n_blocks_; }
  Tensor k(int layer) const { return k_[size_t(layer)]; }  // {n_blocks, n_kv_heads, block_size, head_dim}
  Tensor v(int layer) const { return v_[size_t(layer)]; }

 private:
  KvCache() = default;
  KvLayout layout_;
  int n_blocks_ = 0;
  std::unique_ptr<Buffer> buffer_;
  std::vector<Tensor> k_, v_;
};

}  // namespace lm
