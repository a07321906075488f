#include "engine/kv/window_pages.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "engine/core/check.h"

namespace lm {

WindowPages::WindowPages(int n_blocks, int n_pages) {
  LM_CHECK(n_blocks >= 0 && n_pages >= 0);
  page_.assign(n_pages > 0 ? size_t(n_blocks) : 0, -1);
  owner_.assign(size_t(n_pages), -1);
  holders_.assign(size_t(n_pages), 0);
  free_.reserve(size_t(n_pages));
  for (PageId page = n_pages - 1; page >= 0; --page) free_.push_back(page);
  next_.assign(size_t(n_pages) + 1, n_pages);
  prev_.assign(size_t(n_pages) + 1, n_pages);
}

PageId WindowPages::take() {
  if (!free_.empty()) {
    const PageId page = free_.back();
    free_.pop_back();
    return page;
  }
  const PageId page = next_.back();
  if (page == n_pages()) return -1;
  unkeep(page);
  page_[size_t(owner_[size_t(page)])] = -1;
  return page;
}

bool WindowPages::hold(BlockId block) {
  if (n_pages() == 0) return true;
  PageId& page = page_[size_t(block)];
  if (page < 0) {
    const PageId taken = take();
    if (taken < 0) return false;
    page = taken;
    owner_[size_t(page)] = block;
  } else if (holders_[size_t(page)] == 0) {
    unkeep(page);
  }
  ++holders_[size_t(page)];
  return true;
}

void WindowPages::release(BlockId block, Taken taken) {
  if (n_pages() == 0) return;
  const PageId page = of(block);
  LM_CHECK(page >= 0 && holders_[size_t(page)] > 0);
  if (--holders_[size_t(page)] == 0) keep(page, taken);
}

void WindowPages::move(BlockId from, BlockId to) {
  const PageId page = of(from);
  LM_CHECK(page >= 0 && of(to) < 0);
  page_[size_t(from)] = -1;
  page_[size_t(to)] = page;
  owner_[size_t(page)] = to;
}

void WindowPages::drop(BlockId block) {
  const PageId page = of(block);
  if (page < 0) return;
  LM_CHECK(holders_[size_t(page)] == 0);
  unkeep(page);
  page_[size_t(block)] = -1;
  free_.push_back(page);
}

void WindowPages::keep(PageId page, Taken taken) {
  const PageId anchor = n_pages();
  const PageId before = taken == Taken::last ? prev_.back() : anchor;
  const PageId after = next_[size_t(before)];
  next_[size_t(page)] = after;
  prev_[size_t(page)] = before;
  next_[size_t(before)] = page;
  prev_[size_t(after)] = page;
  ++n_kept_;
}

void WindowPages::unkeep(PageId page) {
  next_[size_t(prev_[size_t(page)])] = next_[size_t(page)];
  prev_[size_t(next_[size_t(page)])] = prev_[size_t(page)];
  --n_kept_;
}

// The window of the step's first row, from the beginning of that row's block on; the step's rows,
// with a block that either end cuts; and the block that a copy is made of.
int most_window_pages(int window, int step_tokens, int block_size) {
  const int64_t tokens = int64_t(window) + step_tokens;
  const int64_t pages = (tokens + block_size - 1) / block_size + 3;
  return int(std::min<int64_t>(pages, std::numeric_limits<int>::max()));
}

}  // namespace lm
