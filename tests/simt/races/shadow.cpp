#include "tests/simt/races/shadow.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace simt {

namespace {

constexpr unsigned kLanes = 32;

uint32_t bit_of(Moment m) {
  return 1u << (m.actor % kLanes);
}

// The same but for the lane.
bool alike(const Record& a, const Record& b) {
  Moment when = b.when;
  when.actor = when.actor / kLanes * kLanes + a.when.actor % kLanes;
  return when == a.when && a.access == b.access && a.pending == b.pending;
}

// Those of them that a later read of `thread` does not make superfluous.
uint32_t still_needed(const Readers& readers, const Record& record, const Order& order,
                      int thread) {
  const Record& theirs = readers.record;
  if (theirs.access != record.access) return readers.lanes;
  const bool of_product = int(record.when.actor) != thread;
  if (of_product && theirs.when.actor / kLanes == record.when.actor / kLanes) {
    return readers.lanes & ~bit_of(record.when);  // products of a warp end in turn
  }
  if (theirs.pending || !order.is_here(theirs.when)) return readers.lanes;
  // Who knows that a product has ended need not know what its thread knew.
  if (of_product) return order.is_of_past_epoch(theirs.when) ? 0 : readers.lanes;
  return order.not_before_here(theirs.when, readers.lanes, thread);
}

// A lane that nobody of another block can be in order with; -1: none. Their block has ended.
int lane_never_released(const Readers& readers, const Order& order) {
  for (uint32_t rest = readers.lanes; rest != 0; rest &= rest - 1) {
    const int lane = std::countr_zero(rest);
    if (!order.is_released(readers.of_lane(lane).when)) return lane;
  }
  return -1;
}

}  // namespace

bool Readers::holds(const Record& one) const {
  return (lanes & bit_of(one.when)) != 0 && alike(record, one);
}

Record Readers::of_lane(int lane) const {
  Record one = record;
  one.when.actor = one.when.actor / kLanes * kLanes + unsigned(lane);
  return one;
}
// All that was before it is in order before it, so who is in order with it is with them.
void Cell::add_write(const Record& record) {
  write = record;
  last = {};
  more.clear();
}

Readers* Cell::group_of(const Record& record) {
  const auto fits = [&](const Readers& group) {
    return alike(group.record, record) &&
           (group.record.code == record.code || (group.lanes & bit_of(record.when)) != 0);
  };
  if (fits(last)) return &last;
  const auto found = std::find_if(more.begin(), more.end(), fits);
  return found == more.end() ? nullptr : &*found;
}

void Cell::add_reader(const Record& record, const Order& order, int thread) {
  if (has_readers() && last.record.when.block != record.when.block) leave_block(order);
  if (Readers* const group = group_of(record)) {
    group->lanes |= bit_of(record.when);
    std::swap(*group, last);
    return;
  }
  if (has_readers()) more.push_back(last);
  std::erase_if(more, [&](Readers& group) {
    group.lanes = still_needed(group, record, order, thread);
    return group.none();
  });
  last = {record, bit_of(record.when)};
}

void Cell::leave_block(const Order& order) {
  more.push_back(std::exchange(last, {}));
  for (const Access access : {Access::read, Access::atomic}) {
    for (size_t i = 0; i < more.size(); ++i) {
      const int lane = more[i].record.access == access ? lane_never_released(more[i], order) : -1;
      if (lane < 0) continue;
      const Record one = more[i].of_lane(lane);
      std::erase_if(more, [&](const Readers& group) { return group.record.access == access; });
      more.push_back({one, bit_of(one.when)});
      break;
    }
  }
  if (more.size() > kMostGroups) more.erase(more.begin(), more.end() - kMostGroups);
}

void Cell::end_reads(const Record& record) {
  uint32_t ended = 0;
  const auto end = [&](Readers& group) {
    const Moment theirs = group.record.when;
    if (!group.record.pending || theirs.tick != record.when.tick) return;
    if (theirs.actor / kLanes != record.when.actor / kLanes) return;
    ended |= group.lanes & bit_of(record.when);
    group.lanes &= ~bit_of(record.when);
  };
  end(last);
  for (Readers& group : more) end(group);
  if (ended == 0) return;
  std::erase_if(more, [](const Readers& group) { return group.none(); });
  if (last.none()) {
    last = {record, ended};
  } else {
    more.push_back({record, ended});
  }
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
