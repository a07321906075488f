// BlockTable: growing, shrinking, and sharing blocks with other sequences.
#include <algorithm>
#include <utility>

#include "engine/core/check.h"
#include "engine/kv/block_pool.h"

namespace lm {

BlockTable::BlockTable(BlockTable&& other) noexcept
    : pool_(other.pool_),
      blocks_(std::move(other.blocks_)),
      n_published_(std::exchange(other.n_published_, 0)),
      window_(std::exchange(other.window_, {})) {
  other.blocks_.clear();
}

BlockTable& BlockTable::operator=(BlockTable&& other) noexcept {
  if (this != &other) {
    clear();
    pool_ = other.pool_;
    blocks_ = std::move(other.blocks_);
    n_published_ = std::exchange(other.n_published_, 0);
    window_ = std::exchange(other.window_, {});
    other.blocks_.clear();
  }
  return *this;
}

int BlockTable::blocks_for(int n_tokens) const {
  LM_CHECK(n_tokens >= 0);
  const int size = pool_->block_size();
  return n_tokens / size + (n_tokens % size != 0 ? 1 : 0);
}

int BlockTable::missing_blocks(int n_tokens) const {
  const int more = blocks_for(n_tokens) - int(blocks_.size());
  return more > 0 ? more : 0;
}

bool BlockTable::grow(int n_tokens) {
  const int more = missing_blocks(n_tokens);
  if (more > pool_->free_blocks()) return false;
  for (int i = 0; i < more; ++i) blocks_.push_back(pool_->take());
  return true;
}

// From the last one on, so that a block is never older in the cache than those behind it.
void BlockTable::truncate(int n_tokens) {
  LM_CHECK(n_tokens == 0 || n_tokens >= n_shared());
  const size_t keep = size_t(blocks_for(n_tokens));
  cut_window(int(keep));
  while (blocks_.size() > keep) {
    pool_->release(blocks_.back());
    blocks_.pop_back();
  }
  n_published_ = std::min(n_published_, int(keep));
}

int32_t BlockTable::slot(int position) const {
  LM_CHECK(position >= 0 && position < capacity());
  const int size = pool_->block_size();
  return blocks_[size_t(position / size)] * size + position % size;
}

BlockId BlockTable::last_shared() const {
  return n_published_ == 0 ? PrefixIndex::kRoot : blocks_[size_t(n_published_) - 1];
}

// The table holds `by` instead of what it held there, or as its new last block.
void BlockTable::replace(size_t index, BlockId by) {
  pool_->share(by);
  if (index == blocks_.size()) {
    blocks_.push_back(by);
  } else {
    pool_->release(std::exchange(blocks_[index], by));
  }
}

// How many blocks of a text that the index knows can be taken over. Where layers have a window, a
// text can go on only from where the pages of the window before it are there.
int BlockTable::usable_blocks(std::span<const TokenId> tokens) const {
  const size_t size = size_t(pool_->block_size());
  int usable = n_published_, pages_from = window_.begin;
  BlockId last = last_shared();
  for (int i = n_published_; (size_t(i) + 1) * size <= tokens.size(); ++i) {
    last = pool_->index().find(last, tokens.subspan(size_t(i) * size, size));
    if (last < 0) break;
    if (pool_->window() > 0 && pool_->pages().of(last) < 0) pages_from = i + 1;
    if (pages_from <= window_begin((i + 1) * int(size))) usable = i + 1;
  }
  return usable;
}

bool BlockTable::adopt(std::span<const TokenId> tokens) {
  const size_t size = size_t(pool_->block_size());
  const int before = n_published_, usable = usable_blocks(tokens);
  if (usable == before) return false;
  cut_window(before);
  while (n_published_ < usable) {
    const size_t i = size_t(n_published_);
    replace(i, pool_->index().find(last_shared(), tokens.subspan(i * size, size)));
    ++n_published_;
  }
  slide_window(window_begin(usable * int(size)));
  LM_CHECK(open_window(usable * int(size), usable * int(size)));  // they are there
  return true;
}

BlockTable::Tail BlockTable::adopt_tail(std::span<const TokenId> tokens) {
  const size_t index = size_t(n_published_);
  const PrefixMatch match =
      pool_->index().find_beginning(last_shared(), tokens.subspan(size_t(n_shared())));
  if (match.n_tokens == 0 || (index < blocks_.size() && blocks_[index] == match.block)) return {};
  if (pool_->window() > 0 && pool_->pages().of(match.block) < 0) return {};
  const bool whole = pool_->index().n_tokens(match.block) == pool_->block_size();
  const bool all_of_it = pool_->index().n_tokens(match.block) == match.n_tokens;
  const int n_tokens = n_shared() + match.n_tokens;
  if (pool_->references(match.block) == 0 && all_of_it && !whole) {
    cut_window(int(index));
    replace(index, match.block);
    LM_CHECK(open_window(n_shared(), n_tokens));  // its page is there
    return {match.n_tokens, std::nullopt};
  }
  if (index == blocks_.size()) return {};
  LM_CHECK(pool_->pages().hold(match.block));  // or it might be the page that is taken for the copy
  const bool opened = open_window(n_shared(), n_tokens);
  pool_->pages().release(match.block, WindowPages::Taken::last);
  if (!opened) return {};
  return {match.n_tokens, BlockCopy{match.block, blocks_[index]}};
}

void BlockTable::publish(std::span<const TokenId> tokens) {
  const size_t size = size_t(pool_->block_size());
  for (size_t i = size_t(n_published_); (i + 1) * size <= tokens.size(); ++i) {
    const std::span<const TokenId> held = tokens.subspan(i * size, size);
    const BlockId known = pool_->index().find(last_shared(), held);
    if (known < 0) {
      pool_->remember(blocks_[i], last_shared(), held);
    } else if (known != blocks_[i]) {
      pool_->forget(blocks_[i]);
      hand_page(int(i), known);
      replace(i, known);
    }
    ++n_published_;
  }
}

void BlockTable::publish_tail(std::span<const TokenId> tokens) {
  publish(tokens);
  // Who asks the same again needs the logits of the last token: the window before it.
  window_.kept_begin = window_begin(std::max(int(tokens.size()) - 1, 0));
  window_.kept_end = blocks_for(int(tokens.size()));
  const std::span<const TokenId> tail = tokens.subspan(size_t(n_shared()));
  if (tail.empty()) return;
  const PrefixMatch known = pool_->index().find_beginning(last_shared(), tail);
  if (known.n_tokens < int(tail.size())) {
    pool_->remember(blocks_[size_t(n_published_)], last_shared(), tail);
  }
}

}  // namespace lm
