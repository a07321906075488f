#include "engine/runtime/scheduler.h"

#include <algorithm>

#include "engine/core/check.h"

namespace lm {
namespace {

int uncomputed(const Sequence& sequence) {
  return int(sequence.tokens.size()) - sequence.n_computed;
}

}  // namespace

Scheduler::Scheduler(BlockPool& pool, int max_step_tokens, int max_seqs)
    : pool_(&pool), max_step_tokens_(max_step_tokens), max_seqs_(max_seqs) {
  LM_CHECK(max_seqs >= 1 && max_step_tokens >= max_seqs);
  running_.reserve(size_t(max_seqs));
  plan_.reserve(size_t(max_seqs));
}

void Scheduler::add(Sequence* sequence) {
  LM_CHECK(uncomputed(*sequence) > 0);
  waiting_.push_back(sequence);
}

void Scheduler::remove(Sequence* sequence) {
  const size_t before = running_.size() + waiting_.size();
  std::erase(running_, sequence);
  std::erase(waiting_, sequence);
  LM_CHECK(running_.size() + waiting_.size() + 1 == before);
  sequence->table.clear();
  sequence->n_computed = 0;
}

const std::vector<PlannedRow>& Scheduler::next() {
  reserve_blocks();
  admit();
  plan_rows();
  return plan_;
}

// Every running sequence gets blocks for the tokens it has; the oldest ask first. A prompt got all
// of its blocks when it was admitted, so only decoding sequences ask here.
void Scheduler::reserve_blocks() {
  for (size_t i = 0; i < running_.size(); ++i) {
    Sequence& sequence = *running_[i];
    const int n_tokens = int(sequence.tokens.size());
    while (!sequence.table.grow(n_tokens)) {
      const bool alone = running_.size() == 1;
      LM_CHECK(!alone || pool_->free_blocks() + int(sequence.table.blocks().size()) <
                             pool_->n_blocks());  // more than the pool has: see add()
      preempt_youngest();
      if (i == running_.size()) return;  // it was this one
    }
  }
}

void Scheduler::preempt_youngest() {
  Sequence* youngest = running_.back();
  running_.pop_back();
  youngest->table.clear();
  youngest->n_computed = 0;
  waiting_.push_front(youngest);
  ++preemptions_;
}

// From the head of the queue only: a short request never overtakes a long one for ever. Beside
// others, a sequence starts only if each of them could still take a block afterwards, so that it is
// not preempted at once.
void Scheduler::admit() {
  while (!waiting_.empty() && int(running_.size()) < max_seqs_) {
    Sequence& first = *waiting_.front();
    const int n_tokens = int(first.tokens.size());
    const int needed = first.table.missing_blocks(n_tokens);
    LM_CHECK(needed <= pool_->n_blocks());
    if (needed + int(running_.size()) > pool_->free_blocks()) return;
    LM_CHECK(first.table.grow(n_tokens));
    running_.push_back(&first);
    waiting_.pop_front();
  }
}

void Scheduler::plan_rows() {
  plan_.clear();
  int room = max_step_tokens_;
  const auto plan = [&](Sequence* sequence) {
    const int rest = uncomputed(*sequence);
    const int n_tokens = std::min(rest, room);
    if (n_tokens == 0) return;
    plan_.push_back({sequence, n_tokens, n_tokens == rest});
    room -= n_tokens;
  };
  for (Sequence* sequence : running_) {
    if (uncomputed(*sequence) == 1) plan(sequence);
  }
  for (Sequence* sequence : running_) {
    if (uncomputed(*sequence) > 1) plan(sequence);
  }
}

void Scheduler::completed(const std::vector<PlannedRow>& rows) {
  for (const PlannedRow& row : rows) row.sequence->n_computed += row.n_tokens;
}

}  // namespace lm
