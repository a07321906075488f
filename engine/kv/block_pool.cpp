#include "engine/kv/block_pool.h"

#include <limits>

#include "engine/core/check.h"

namespace lm {

BlockPool::BlockPool(int n_blocks, int block_size, WindowLayout window)
    : block_size_(block_size),
      window_(window.tokens),
      index_(n_blocks, block_size),
      pages_(n_blocks, window.tokens > 0 ? window.n_pages : 0) {
  // Slots are i32: block * block_size + offset must fit.
  LM_CHECK(n_blocks >= 0 && block_size > 0);
  LM_CHECK(n_blocks <= std::numeric_limits<int32_t>::max() / block_size);
  LM_CHECK(window.tokens == 0 || window.n_pages > 0 || n_blocks == 0);
  refs_.assign(size_t(n_blocks), 0);
  free_.reserve(size_t(n_blocks));
  for (BlockId id = n_blocks - 1; id >= 0; --id) free_.push_back(id);
  next_.assign(size_t(n_blocks) + 1, n_blocks);
  prev_.assign(size_t(n_blocks) + 1, n_blocks);
}

BlockId BlockPool::take() {
  if (free_.empty()) {
    const BlockId oldest = next_.back();
    if (oldest == n_blocks()) return -1;
    uncache(oldest);
    index_.erase(oldest);
    pages_.drop(oldest);
    free_.push_back(oldest);
  }
  const BlockId id = free_.back();
  free_.pop_back();
  refs_[size_t(id)] = 1;
  return id;
}

void BlockPool::share(BlockId id) {
  LM_CHECK(references(id) > 0 || index_.holds(id));
  if (refs_[size_t(id)]++ == 0) uncache(id);
}

void BlockPool::release(BlockId id) {
  LM_CHECK(references(id) > 0);
  if (--refs_[size_t(id)] > 0) return;
  if (index_.holds(id)) {
    cache(id);
  } else {
    pages_.drop(id);
    free_.push_back(id);
  }
}

int BlockPool::references(BlockId id) const {
  LM_CHECK(id >= 0 && id < n_blocks());
  return refs_[size_t(id)];
}

void BlockPool::remember(BlockId id, BlockId parent, std::span<const TokenId> tokens) {
  LM_CHECK(references(id) > 0);
  index_.insert(id, parent, tokens);
}

void BlockPool::forget(BlockId id) {
  LM_CHECK(references(id) > 0);
  if (index_.holds(id)) index_.erase(id);
}

// The oldest first: a block is never older than those behind it.
void BlockPool::forget_cached() {
  while (n_cached_ > 0) {
    const BlockId oldest = next_.back();
    uncache(oldest);
    index_.erase(oldest);
    pages_.drop(oldest);
    free_.push_back(oldest);
  }
}

void BlockPool::hold_source(BlockId id) {
  share(id);
  LM_CHECK(pages_.hold(id));  // it is there
}

void BlockPool::release_source(BlockId id) {
  pages_.release(id, WindowPages::Taken::last);
  release(id);
}

void BlockPool::cache(BlockId id) {
  const BlockId anchor = n_blocks(), last = prev_.back();
  next_[size_t(id)] = anchor;
  prev_[size_t(id)] = last;
  next_[size_t(last)] = id;
  prev_[size_t(anchor)] = id;
  ++n_cached_;
}

void BlockPool::uncache(BlockId id) {
  next_[size_t(prev_[size_t(id)])] = next_[size_t(id)];
  prev_[size_t(next_[size_t(id)])] = prev_[size_t(id)];
  --n_cached_;
}

}  // namespace lm
