// engine/kv/window_pages.h — the memory of the layers that see only a window of the text: a page
// for a block, as long as somebody's window reaches it. Afterwards a page stays with its block, for
// whoever comes back to that place, until another block needs the memory. Integers only.
#pragma once
#include <cstdint>
#include <vector>

#include "engine/core/result.h"
#include "engine/kv/prefix_index.h"

namespace lm {

using PageId = int32_t;

class WindowPages {
 public:
  // What becomes of a page that nobody holds: `first` is the next one to be taken, `last` stays for
  // as long as the others.
  enum class Taken { first, last };

  WindowPages(int n_blocks, int n_pages);  // n_pages 0: no layer has a window

  int n_pages() const { return int(owner_.size()); }
  int free_pages() const { return int(free_.size()) + n_kept_; }  // what hold() can give
  PageId of(BlockId block) const { return n_pages() == 0 ? -1 : page_[size_t(block)]; }

  // One more holder of the block's page. A block without any gets one, whose content means nothing
  // yet; false when all are held.
  bool hold(BlockId block);
  void release(BlockId block, Taken taken);
  // The page of `from` and its holders; `to` has none.
  void move(BlockId from, BlockId to);
  void drop(BlockId block);  // whose content is forgotten; nobody holds its page, if it has one

 private:
  PageId take();
  void keep(PageId page, Taken taken);
  void unkeep(PageId page);

  std::vector<PageId> page_;      // [n_blocks]  -1: none
  std::vector<BlockId> owner_;    // [n_pages]
  std::vector<int32_t> holders_;  // [n_pages]
  std::vector<PageId> free_;
  // Those that nobody holds, as a ring through n_pages, its anchor: next_[n_pages] is taken next.
  std::vector<PageId> next_, prev_;  // [n_pages + 1]
  int n_kept_ = 0;
};

// The most pages that one sequence holds when its rows come in steps of `step_tokens`.
int most_window_pages(int window, int step_tokens, int block_size);

}  // namespace lm
