#include "tests/simt/races/shadow.h"

#include <algorithm>
#include <utility>

namespace simt {

// All that was before it is in order before it, so who is in order with it is with them.
void Cell::add_write(const Record& record) {
  write = record;
  last.access = other.access = of_other_block.access = Access::none;
}

void Cell::add_reader(const Record& record) {
  const Moment now = record.when;
  if (last.access == Access::none) {
    last = record;
    return;
  }
  if (last.when.block != now.block) {
    of_other_block = last;
    other.access = Access::none;
  } else if (last.when.epoch != now.epoch) {
    other.access = Access::none;
  } else if (last.when.actor != now.actor) {
    const auto warp = [](Moment m) { return m.actor / 32; };
    const bool other_is_better = other.access != Access::none && other.when.actor != now.actor &&
                                 warp(last.when) == warp(now) && warp(other.when) != warp(now);
    if (!other_is_better) other = last;
  }
  last = record;
}

void Page::refine(uint32_t bytes) {
  if (granule <= bytes && granule != 0) return;
  const size_t before = granule;
  std::vector<Cell> finer(kBytes / bytes);
  if (before != 0) {
    for (size_t i = 0; i < finer.size(); ++i) finer[i] = cells[i * bytes / before];
  }
  cells = std::move(finer);
  granule = bytes;
}

Page& Shadow::of_shared(size_t number, uint32_t block) {
  if (number >= shared_.size()) shared_.resize(number + 1);
  Page& page = shared_[number];
  if (page.block != block) std::fill(page.cells.begin(), page.cells.end(), Cell());
  page.block = block;
  return page;
}

Page& Shadow::of_memory(uintptr_t number) {
  Recent& recent = recent_[number % recent_.size()];
  if (recent.page == nullptr || recent.number != number) recent = {number, &pages_[number]};
  return *recent.page;
}

}  // namespace simt
