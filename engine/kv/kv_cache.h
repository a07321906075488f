// engine/kv/kv_cache.h — the memory behind the blocks: K and V of every layer, reserved once and
// touched by the operating system only where it is written.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "backends/backend.h"
#include "engine/core/result.h"
#include "engine/kv/block_pool.h"

namespace lm {

struct KvLayerShape {
  int n_kv_heads = 0, head_dim = 0;
};

struct KvLayout {
  std::vector<KvLayerShape> layers;
  int block_size = 32;       // tokens
  DType dtype = DType::f16;  // f32, f16, q8_0 (every head_dim then a multiple of 32)
};

// bad_request or unsupported, with the numbers, when a cache can't have this layout.
Status validate(const KvLayout& layout);

// Bytes of one block over all layers, K and V; nullopt when they don't fit a number. The layout is
// valid.
std::optional<uint64_t> kv_block_bytes(const KvLayout& layout);

class KvCache {
 public:
  // The layout is validated here.
  static Result<KvCache> allocate(Backend& backend, const KvLayout& layout, int n_blocks);

  const KvLayout& layout() const { return layout_; }
  int n_blocks() const { return n_blocks_; }
  uint64_t bytes() const { return buffer_->bytes(); }
  // {n_blocks, n_kv_heads, block_size, head_dim}
  Tensor k(int layer) const { return k_[size_t(layer)]; }
  Tensor v(int layer) const { return v_[size_t(layer)]; }

  // Enqueues nothing: waits for the backend's work and copies one block of every layer.
  void copy_block(const BlockCopy& copy);
  // The same out of and into host memory: block_bytes() of K and V, layer after layer.
  uint64_t block_bytes() const { return block_bytes_; }
  void read_block(BlockId block, std::span<std::byte> into) const;
  void write_block(BlockId block, std::span<const std::byte> from);

 private:
  KvCache() = default;
  KvLayout layout_;
  int n_blocks_ = 0;
  uint64_t block_bytes_ = 0;
  std::unique_ptr<Buffer> buffer_;
  std::vector<Tensor> k_, v_;
  std::vector<std::byte> staging_;  // [block_bytes]  of a copy
};

}  // namespace lm
