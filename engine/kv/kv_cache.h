// engine/kv/kv_cache.h — the memory behind the blocks: K and V of every layer, reserved once and
// touched by the operating system only where it is written. Layers with a window have memory for
// fewer blocks: their blocks are pages (window_pages.h). A layer's memory is in the room where its
// attention works.
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
  bool windowed = false;
};

struct KvLayout {
  std::vector<KvLayerShape> layers;
  int block_size = 32;       // tokens
  DType dtype = DType::f16;  // f32, f16, q8_0 (every head_dim then a multiple of 32)
};

// bad_request or unsupported, with the numbers, when a cache can't have this layout.
Status validate(const KvLayout& layout);

// Bytes of K and V of one block over all layers: of those that see everything, and of those with a
// window.
struct KvBlockBytes {
  uint64_t block = 0, page = 0;
  bool operator==(const KvBlockBytes&) const = default;
};
// nullopt when their sum doesn't fit a number. The layout is valid.
std::optional<KvBlockBytes> kv_block_bytes(const KvLayout& layout);

// Where a block is: in the layers that see everything, and in those with a window, if it has a
// page.
struct BlockPlace {
  BlockId block = -1;
  PageId page = -1;
};

class KvCache {
 public:
  // rooms: of each layer. The layout is validated here.
  static Result<KvCache> allocate(std::span<Backend* const> rooms, const KvLayout& layout,
                                  int n_blocks, int n_pages = 0);

  const KvLayout& layout() const { return layout_; }
  uint64_t bytes() const;  // in all rooms
  // {n_blocks or n_pages, n_kv_heads, block_size, head_dim}
  Tensor k(int layer) const { return k_[size_t(layer)]; }
  Tensor v(int layer) const { return v_[size_t(layer)]; }

  // Enqueues nothing: waits for the backends' work and copies one block of every layer. The error
  // of a room that failed is left to the step that comes next.
  void copy_block(const BlockPlace& from, const BlockPlace& to);
  // The same out of and into host memory: block_bytes() of K and V, layer after layer. What was
  // read means something only if no room had failed, which is then known.
  uint64_t block_bytes() const { return block_bytes_; }
  Status read_block(const BlockPlace& place, std::span<std::byte> into) const;
  void write_block(const BlockPlace& place, std::span<const std::byte> from);
  // read_block() of a cache in one room, behind what was enqueued, while the host goes on.
  void send_block(const BlockPlace& place, Landing& into) const;

 private:
  KvCache() = default;
  Status allocate_room(std::span<Backend* const> rooms, Backend& room, int n_blocks, int n_pages);
  void download_block(const BlockPlace& place, std::span<std::byte> into) const;
  Tensor block_of(Tensor cache, size_t layer, const BlockPlace& place) const;

  KvLayout layout_;
  uint64_t block_bytes_ = 0;
  std::vector<std::unique_ptr<Buffer>> buffers_;  // one in each room
  std::vector<Tensor> k_, v_;
  std::vector<std::byte> staging_;  // [block_bytes]  of a copy
};

}  // namespace lm
