// engine/kv/block_pool.h — who holds which KV block. Integers only: no tensors, no device.
// A block is held by as many tables as it has references; without any it is free, or cached: kept
// for what it holds until its memory is needed, the least recently used one first.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "engine/core/result.h"
#include "engine/core/token.h"
#include "engine/kv/prefix_index.h"
#include "engine/kv/window_pages.h"

namespace lm {

// Of the layers that see only the last tokens. They have memory of their own: see WindowPages.
struct WindowLayout {
  int tokens = 0;  // that the widest of them sees; 0: there are none
  int n_pages = 0;
};

class BlockPool {
 public:
  BlockPool(int n_blocks, int block_size, WindowLayout window = {});

  int n_blocks() const { return int(refs_.size()); }
  int block_size() const { return block_size_; }                     // tokens
  int free_blocks() const { return int(free_.size()) + n_cached_; }  // what take() can give
  int cached_blocks() const { return n_cached_; }
  int window() const { return window_; }  // tokens; 0: no layer has one
  WindowPages& pages() { return pages_; }
  const WindowPages& pages() const { return pages_; }

  BlockId take();            // a block with one reference; -1 when all are held
  void share(BlockId id);    // one more reference, of a held or a cached block
  void release(BlockId id);  // one less; at 0 the block is free, or cached when it is in the index
  int references(BlockId id) const;

  const PrefixIndex& index() const { return index_; }
  PrefixIndex& index() { return index_; }
  void remember(BlockId id, BlockId parent, std::span<const TokenId> tokens);  // held: see insert()
  void forget(BlockId id);  // held, and has no children in the index
  void forget_cached();     // all blocks that nobody holds
  // What a copy is made of, until it is made.
  void hold_source(BlockId id);
  void release_source(BlockId id);

 private:
  void cache(BlockId id);  // at the end of the list of the least recently used
  void uncache(BlockId id);

  int block_size_, window_;
  PrefixIndex index_;
  WindowPages pages_;
  std::vector<int> refs_;
  std::vector<BlockId> free_;  // the last one is taken next
  // The cached blocks as a ring through n_blocks, its anchor: the oldest is next_[n_blocks].
  std::vector<BlockId> next_, prev_;  // [n_blocks + 1]
  int n_cached_ = 0;
};

struct BlockCopy {
  BlockId from = -1, to = -1;
};

// One sequence's view of the cache: token i lives in blocks()[i / block_size].
// Returns its blocks to the pool when destroyed.
class BlockTable {
 public:
  explicit BlockTable(BlockPool& pool) : pool_(&pool) {}
  ~BlockTable() { clear(); }
  BlockTable(BlockTable&& other) noexcept;
  BlockTable& operator=(BlockTable&& other) noexcept;
  BlockTable(const BlockTable&) = delete;
  BlockTable& operator=(const BlockTable&) = delete;

  const std::vector<BlockId>& blocks() const { return blocks_; }
  int capacity() const { return int(blocks_.size()) * pool_->block_size(); }  // tokens
  // From now on up to n_tokens no memory of the table itself is allocated.
  void reserve(int n_tokens) { blocks_.reserve(size_t(blocks_for(n_tokens))); }
  // How many more blocks must be taken to hold n_tokens.
  int missing_blocks(int n_tokens) const;
  bool grow(int n_tokens);  // makes room for n_tokens; false (and unchanged) when the pool is short
  void truncate(int n_tokens);  // gives back what tokens >= n_tokens used; not into a shared block
  void clear() { truncate(0); }
  int32_t slot(int position) const;  // block * block_size + offset

  // Layers with a window. Before the tokens from `n_computed` to n_tokens are computed: holds the
  // pages that they are written to and see, and lets those behind go. Room for n_tokens was made.
  // False when the pool is short of pages; then it holds as many as there were.
  bool open_window(int n_computed, int n_tokens);
  bool prepare(int n_computed, int n_tokens) {
    return grow(n_tokens) && open_window(n_computed, n_tokens);
  }
  int writable() const;  // tokens that there is memory for, in all layers
  int first_page() const { return window_.begin; }  // the first block whose page is held
  PageId page(int index) const;                     // of the index-th block; -1: not held
  int32_t window_slot(int position) const;          // page * block_size + offset

  // Reuse. The first n_shared() tokens lie in whole blocks that the pool's index knows, which other
  // tables may hold too: they are never written again.
  int n_shared() const { return n_published_ * pool_->block_size(); }
  // Takes over the whole blocks that the index knows behind the shared ones, for as far as they
  // hold `tokens`, the sequence's from its beginning. True when there were any.
  bool adopt(std::span<const TokenId> tokens);
  struct Tail {
    int n_tokens = 0;  // behind the shared blocks
    // To be made before the next step; nobody holds `from` and its page yet: see hold_source().
    std::optional<BlockCopy> copy{};
  };
  // Looks for a block whose first tokens continue `tokens` behind the shared blocks. A block that
  // nobody holds is taken over as it is; of another the table's own next block is to be a copy.
  Tail adopt_tail(std::span<const TokenId> tokens);
  // Tells the index what the blocks hold: `tokens`, all of them computed. Where it knows a block
  // with the same tokens already, this table goes on with that one and gives its own back.
  void publish(std::span<const TokenId> tokens);
  // The same for the last, unfinished block.
  void publish_tail(std::span<const TokenId> tokens);

 private:
  // The blocks whose pages this table holds, and those that its window held when the last prompt
  // ended: where another text is likely to go on.
  struct Window {
    int begin = 0, end = 0;
    int kept_begin = 0, kept_end = 0;
  };

  int blocks_for(int n_tokens) const;
  BlockId last_shared() const;
  void replace(size_t index, BlockId by);
  int window_begin(int n_computed) const;
  void slide_window(int begin);
  void cut_window(int end);
  void hand_page(int index, BlockId to);
  int usable_blocks(std::span<const TokenId> tokens) const;

  BlockPool* pool_;
  std::vector<BlockId> blocks_;
  int n_published_ = 0;  // whole blocks, from the first on
  Window window_;
};

}  // namespace lm
