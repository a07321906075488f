// BlockTable: the pages of layers with a window. A table holds those from the block in which the
// window of the last whole block's end begins, so that a text can go on from there too.
#include <algorithm>

#include "engine/core/check.h"
#include "engine/kv/block_pool.h"

namespace lm {

// The first block that is seen from the beginning of the block that token n_computed goes to.
int BlockTable::window_begin(int n_computed) const {
  if (pool_->window() == 0) return 0;
  const int size = pool_->block_size();
  const int first = n_computed / size * size - pool_->window() + 1;
  return first > 0 ? first / size : 0;
}

bool BlockTable::open_window(int n_computed, int n_tokens) {
  if (pool_->window() == 0) return true;
  LM_CHECK(n_tokens <= capacity());
  slide_window(window_begin(n_computed));
  for (; window_.end < blocks_for(n_tokens); ++window_.end) {
    if (!pool_->pages().hold(blocks_[size_t(window_.end)])) return false;
  }
  return true;
}

void BlockTable::slide_window(int begin) {
  for (; window_.begin < std::min(begin, window_.end); ++window_.begin) {
    const bool kept = window_.kept_begin <= window_.begin && window_.begin < window_.kept_end;
    pool_->pages().release(blocks_[size_t(window_.begin)],
                           kept ? WindowPages::Taken::last : WindowPages::Taken::first);
  }
  if (window_.begin < begin) window_.begin = window_.end = begin;
}

// Back to the first `end` blocks.
void BlockTable::cut_window(int end) {
  LM_CHECK(end == 0 || end >= window_.begin);
  while (window_.end > std::max(end, window_.begin)) {
    --window_.end;
    pool_->pages().release(blocks_[size_t(window_.end)], WindowPages::Taken::last);
  }
  if (end == 0) window_ = {};
}

// What this table's index-th block holds is what `to` holds too, which is about to take its place.
void BlockTable::hand_page(int index, BlockId to) {
  if (index < window_.begin || index >= window_.end || pool_->window() == 0) return;
  WindowPages& pages = pool_->pages();
  const BlockId from = blocks_[size_t(index)];
  if (pages.of(to) < 0) return pages.move(from, to);
  LM_CHECK(pages.hold(to));
  pages.release(from, WindowPages::Taken::first);
}

int BlockTable::writable() const {
  return pool_->window() == 0 ? capacity() : window_.end * pool_->block_size();
}

PageId BlockTable::page(int index) const {
  const bool held = window_.begin <= index && index < window_.end;
  return held ? pool_->pages().of(blocks_[size_t(index)]) : -1;
}

int32_t BlockTable::window_slot(int position) const {
  const int size = pool_->block_size();
  const PageId held = page(position / size);
  LM_CHECK(held >= 0);
  return held * size + position % size;
}

}  // namespace lm
