#include "tests/simt/races/order.h"

#include <algorithm>
#include <bit>

#include "tests/simt/grid.h"

namespace simt {
namespace {

// A row as far as it goes; what lies behind is unknown: 0.
uint16_t at(const std::vector<uint16_t>& row, size_t actor) {
  return actor < row.size() ? row[actor] : uint16_t(0);
}

void join(std::vector<uint16_t>& to, const std::vector<uint16_t>& from) {
  if (to.size() < from.size()) to.resize(from.size());
  for (size_t i = 0; i < from.size(); ++i) to[i] = std::max(to[i], from[i]);
}

void raise(std::vector<uint16_t>& row, size_t actor, uint64_t ticks) {
  if (row.size() <= actor) row.resize(actor + 1);
  row[actor] = std::max(row[actor], uint16_t(ticks));
}

constexpr uint64_t kMostBlocks = 1u << 22, kMostEpochs = 1u << 18, kMostTicks = 1u << 12;

}  // namespace

Order::Order(int n_threads)
    : n_threads_(n_threads),
      n_warps_((n_threads + 31) / 32),
      ticks_(size_t(n_threads)),
      knowledge_(size_t(n_threads)) {}

void Order::begin_block(uint32_t block) {
  block_ = block;
  epoch_ = 0;
  ++stretch_;
  std::fill(ticks_.begin(), ticks_.end(), uint16_t(0));
  barriers_.clear();
  fences_.clear();
  acquisitions_.clear();
  shared_meetings_.clear();
  if (block >= kMostBlocks) fail("race detection: counts no more than %zu blocks", kMostBlocks);
}

void Order::block_barrier() {
  ++stretch_;
  std::fill(ticks_.begin(), ticks_.end(), uint16_t(0));
  if (++epoch_ == kMostEpochs)
    fail("race detection: counts no more than %zu barriers", kMostEpochs);
}

Order::Row& Order::renew(Knowledge& knowledge) {
  if (knowledge.stretch != stretch_) knowledge.row.clear();
  knowledge.stretch = stretch_;
  return knowledge.row;
}

Order::Row& Order::row_of(int thread) {
  return renew(knowledge_[size_t(thread)]);
}

// What the thread did so far can become known; what it does from now on is of another tick.
void Order::end_tick(int thread) {
  const uint16_t ended = ++ticks_[size_t(thread)];
  if (ended == kMostTicks) fail("race detection: counts no more than %zu ticks", kMostTicks);
  raise(row_of(thread), size_t(thread), ended);
}

void Order::warp_barrier(int first_thread, uint32_t mask) {
  Row all;
  for (uint32_t rest = mask; rest != 0; rest &= rest - 1) {
    const int thread = first_thread + std::countr_zero(rest);
    end_tick(thread);
    join(all, row_of(thread));
  }
  for (uint32_t rest = mask; rest != 0; rest &= rest - 1) {
    row_of(first_thread + std::countr_zero(rest)) = all;
  }
}

void Order::init_barrier(const void* barrier) {
  const auto known = barriers_.find(barrier);
  const int actor = known != barriers_.end() ? known->second.actor
                                             : n_threads_ + n_warps_ + int(barriers_.size());
  barriers_.insert_or_assign(barrier, SharedBarrier{actor, 0, {}, {}});
}

void Order::arrive(int thread, const void* barrier) {
  end_tick(thread);
  join(renew(barriers_.at(barrier).arriving), row_of(thread));
}

// What bulk copies write is known to who sees the phase end that they count at.
Moment Order::arrival_of_copies(const void* barrier) {
  const SharedBarrier& b = barriers_.at(barrier);
  return {block_, epoch_, uint64_t(b.actor), b.n_phases};
}

void Order::end_phase(const void* barrier) {
  SharedBarrier& b = barriers_.at(barrier);
  if (++b.n_phases == kMostTicks)
    fail("race detection: counts no more than %zu phases", kMostTicks);
  b.ended = {stretch_, std::move(renew(b.arriving))};
  b.arriving.row.clear();
  raise(b.ended.row, size_t(b.actor), b.n_phases);
}

void Order::wait(int thread, const void* barrier) {
  const Knowledge& ended = barriers_.at(barrier).ended;
  if (ended.stretch == stretch_) join(row_of(thread), ended.row);
}

Moment Order::product(int thread, int group) const {
  if (uint64_t(group) >= kMostTicks)
    fail("race detection: counts no more than %zu groups", kMostTicks);
  return {block_, epoch_, uint64_t(n_threads_ + thread / 32), uint64_t(group)};
}

void Order::end_products(int thread, int due) {
  if (due > 0) raise(row_of(thread), size_t(n_threads_ + thread / 32), uint64_t(due));
}

void Order::fence(int thread) {
  const Moment when = now(thread);
  end_tick(thread);
  fences_.push_back({when, row_of(thread)});
}

bool Order::Release::covers(Moment m) const {
  return m.block == block && (m.epoch < epoch || (m.epoch == epoch && at(known, m.actor) > m.tick));
}

// What fences before this operation cover; null: there are none.
const Order::Release* Order::release(int thread, Meeting& meeting) {
  Release release = {block_, 0, {}};
  bool fenced = false;
  for (const Fence& fence : fences_) {
    if (fence.when.epoch < release.epoch || !is_before_here(fence.when, thread)) continue;
    fenced = true;
    if (fence.when.epoch > release.epoch) release = {block_, uint32_t(fence.when.epoch), {}};
    join(release.known, fence.known);
  }
  return fenced ? &meeting.releases.emplace_back(std::move(release)) : nullptr;
}

void Order::atomic(int thread, const void* p, size_t bytes, bool shared) {
  Meeting& meeting = (shared ? shared_meetings_ : meetings_)[p];
  ++meeting.n_operations;
  const Moment when = now(thread);
  const auto same = [&](const Acquisition& a) { return a.meeting == &meeting && a.when == when; };
  auto mine = std::find_if(acquisitions_.begin(), acquisitions_.end(), same);
  if (mine == acquisitions_.end()) {
    mine =
        acquisitions_.insert(mine, {when, reinterpret_cast<uintptr_t>(p), bytes, &meeting, 0, 0});
  }
  mine->n_releases = meeting.releases.size();
  mine->n_operations = meeting.n_operations;
  const Release* const released = release(thread, meeting);
  if (released != nullptr && !shared) releases_[block_].push_back(released);
}

bool Order::is_released(Moment m) const {
  const auto found = releases_.find(m.block);
  if (found == releases_.end()) return false;
  return std::any_of(found->second.begin(), found->second.end(),
                     [&](const Release* release) { return release->covers(m); });
}

bool Order::is_before_here(Moment earlier, int thread) const {
  if (earlier.epoch != epoch_ || int(earlier.actor) == thread) return true;
  const Knowledge& mine = knowledge_[size_t(thread)];
  return mine.stretch == stretch_ && at(mine.row, earlier.actor) > earlier.tick;
}

uint32_t Order::not_before_here(Moment m, uint32_t lanes, int thread) const {
  if (m.epoch != epoch_) return 0;
  const unsigned first = m.actor / 32 * 32;
  if (unsigned(thread) / 32 * 32 == first) lanes &= ~(1u << thread % 32);
  const Knowledge& mine = knowledge_[size_t(thread)];
  if (mine.stretch != stretch_) return lanes;
  for (unsigned lane = 0; lane < 32 && first + lane < mine.row.size(); ++lane) {
    if (mine.row[first + lane] > m.tick) lanes &= ~(1u << lane);
  }
  return lanes;
}

bool Order::is_before(Moment earlier, int thread, uintptr_t atomic_at) const {
  if (earlier.block == block_ && is_before_here(earlier, thread)) return true;
  for (const Acquisition& mine : acquisitions_) {
    if (!is_before_here(mine.when, thread)) continue;
    const Meeting& meeting = *mine.meeting;
    // The last atomic operation at an address is before what follows a later one there.
    const bool same_place = atomic_at - mine.at < mine.bytes;
    if (same_place && mine.n_operations == meeting.n_operations) return true;
    for (size_t i = 0; i < mine.n_releases; ++i) {
      if (meeting.releases[i].covers(earlier)) return true;
    }
  }
  return false;
}

}  // namespace simt
