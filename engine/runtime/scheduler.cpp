#include "engine/runtime/scheduler.h"

#include <algorithm>
#include <new>
#include <span>

#include "engine/core/check.h"

namespace lm {
namespace {

// What an answer counts for in its user's share: nobody knows how long it will be.
constexpr uint64_t kAnswerTokens = 256;

// Tokens of prompts in a step that others decode in: those wait for them. More would be no faster.
constexpr int kChunkBesideDecoding = 128;
constexpr int kLeastChunk = 32;  // of a prompt that shares a step with other prompts

bool later(const Sequence* a, const Sequence* b) {
  return a->turn != b->turn ? a->turn > b->turn : a->id > b->id;
}

int uncomputed(const Sequence& sequence) {
  return int(sequence.tokens.size()) - sequence.n_computed;
}

// The tokens of which K and V may come from elsewhere: the logits of the last one are wanted.
std::span<const TokenId> reusable(const Sequence& sequence) {
  return std::span(sequence.tokens).first(sequence.tokens.size() - 1);
}

std::span<const TokenId> computed(const Sequence& sequence) {
  return std::span(sequence.tokens).first(size_t(sequence.n_computed));
}

}  // namespace

Scheduler::Scheduler(BlockPool& pool, int max_step_tokens, int max_seqs)
    : pool_(&pool),
      max_step_tokens_(max_step_tokens),
      max_seqs_(max_seqs),
      most_pages_(most_window_pages(pool.window(), max_step_tokens, pool.block_size())) {
  LM_CHECK(max_seqs >= 1 && max_step_tokens >= max_seqs);
  const int n_pages = pool.pages().n_pages();
  LM_CHECK(pool.window() == 0 || n_pages >= std::min(most_pages_, pool.n_blocks()));
  running_.reserve(size_t(max_seqs));
  plan_.reserve(size_t(max_seqs));
  copies_.reserve(size_t(max_seqs));
}

void Scheduler::add(Sequence* sequence) {
  LM_CHECK(uncomputed(*sequence) > 0);
  sequence->turn = next_turn(*sequence);
  wait(sequence);
}

// The turn of a new sequence, which is counted as its user's.
uint64_t Scheduler::next_turn(const Sequence& sequence) {
  std::erase_if(next_turn_, [&](const auto& user) { return user.second <= now_; });
  try {
    uint64_t& next = next_turn_[sequence.user];
    const uint64_t turn = std::max(now_, next);
    next = turn + sequence.tokens.size() + kAnswerTokens;
    return turn;
  } catch (const std::bad_alloc&) {  // then it is not counted
    return now_;
  }
}

// Behind all with the same turn.
void Scheduler::wait(Sequence* sequence) {
  waiting_.insert(std::lower_bound(waiting_.begin(), waiting_.end(), sequence, later), sequence);
}

void Scheduler::remove(Sequence* sequence) {
  const size_t before = running_.size() + waiting_.size();
  std::erase(running_, sequence);
  std::erase(waiting_, sequence);
  LM_CHECK(running_.size() + waiting_.size() + 1 == before);
  withdraw(*sequence);
}

void Scheduler::restart(Sequence* sequence) {
  withdraw(*sequence);
  ++sequence->n_preempted;
}

// What it computed stays in the cache, as long as nobody needs the blocks.
void Scheduler::withdraw(Sequence& sequence) {
  drop_copies();
  sequence.table.publish_tail(computed(sequence));
  sequence.table.clear();
  sequence.n_computed = 0;
}

void Scheduler::drop_copies() {
  for (const BlockCopy& copy : copies_) pool_->release_source(copy.from);
  copies_.clear();
}

const std::vector<PlannedRow>& Scheduler::next() {
  drop_copies();
  reserve_blocks();
  admit();
  plan_rows();
  return plan_;
}

// Every running sequence gets blocks for the tokens it has; the oldest ask first. A prompt got all
// of its blocks when it was admitted, so only decoding sequences ask here.
void Scheduler::reserve_blocks() {
  while (!enough_pages(0)) preempt_last();
  for (size_t i = 0; i < running_.size(); ++i) {
    Sequence& sequence = *running_[i];
    const int n_tokens = int(sequence.tokens.size());
    while (!sequence.table.grow(n_tokens)) {
      const bool alone = running_.size() == 1;
      LM_CHECK(!alone || pool_->free_blocks() + int(sequence.table.blocks().size()) <
                             pool_->n_blocks());  // more than the pool has: see add()
      preempt_last();
      if (i == running_.size()) return;  // it was this one
    }
  }
}

// The most that its window may reach in this step, and a block that a copy is made of.
int Scheduler::pages_for(const Sequence& sequence) const {
  const int size = pool_->block_size();
  return std::min((int(sequence.tokens.size()) + size - 1) / size + 1, most_pages_);
}

// Whether the layers with a window have pages for all that run, and so many more. One alone always
// finds enough, and so does everybody where each block can have a page.
bool Scheduler::enough_pages(int more) const {
  const int n_pages = pool_->pages().n_pages();
  if (n_pages == pool_->n_blocks() || pool_->window() == 0) return true;
  if (running_.size() + (more > 0 ? 1 : 0) <= 1) return true;
  int64_t needed = more;
  for (const Sequence* sequence : running_) needed += pages_for(*sequence);
  return needed <= n_pages;
}

void Scheduler::preempt_last() {
  Sequence* last = running_.back();
  running_.pop_back();
  withdraw(*last);
  wait(last);
  ++last->n_preempted;
  ++preemptions_;
}

// From the head of the queue only: a short request never overtakes a long one for ever. Each one
// admitted moves the time on, so that whoever comes later is behind whoever has waited long enough.
void Scheduler::admit() {
  while (!waiting_.empty() && int(running_.size()) < max_seqs_) {
    Sequence* first = waiting_.back();
    if (!give_blocks(*first)) return;
    const auto place = std::find_if(running_.begin(), running_.end(),
                                    [&](const Sequence* other) { return later(other, first); });
    running_.insert(place, first);
    waiting_.pop_back();
    now_ = std::max(now_ + 1, first->turn);
  }
}

// Blocks for all of its tokens, those that the cache knows first. Beside others, a sequence starts
// only if each of them could still take a block afterwards, so that it is not preempted at once.
bool Scheduler::give_blocks(Sequence& sequence) {
  const int n_tokens = int(sequence.tokens.size());
  sequence.table.adopt(reusable(sequence));
  const int needed = sequence.table.missing_blocks(n_tokens);
  LM_CHECK(needed <= pool_->n_blocks());
  if (needed + int(running_.size()) > pool_->free_blocks() || !enough_pages(pages_for(sequence))) {
    sequence.table.clear();
    return false;
  }
  LM_CHECK(sequence.table.grow(n_tokens));
  return true;
}

void Scheduler::plan_rows() {
  plan_.clear();
  for (Sequence* sequence : running_) {
    const bool complete = reuse(*sequence);
    if (uncomputed(*sequence) == 1) plan_.push_back({sequence, 1, true});
    sequence->may_prefill = complete && uncomputed(*sequence) > 1;
  }
  const size_t n_decoding = plan_.size();
  int room = max_step_tokens_ - int(n_decoding);
  if (n_decoding > 0) room = std::min(room, kChunkBesideDecoding);
  for (Sequence* sequence : running_) {
    if (!sequence->may_prefill || others_compute(*sequence)) continue;
    plan_.push_back({sequence, 0, false});
  }
  share_room(std::span(plan_).subspan(n_decoding), room);
  std::erase_if(plan_, [](const PlannedRow& row) { return row.n_tokens == 0; });
  for (const PlannedRow& row : plan_) {
    const int n_computed = row.sequence->n_computed;
    LM_CHECK(row.sequence->table.open_window(n_computed, n_computed + row.n_tokens));
  }
}

// The first prompts get the same part of the step; what a short one leaves goes to all in order.
void Scheduler::share_room(std::span<PlannedRow> prompts, int room) {
  const int n_sharing = std::clamp(room / kLeastChunk, 1, std::max(int(prompts.size()), 1));
  const int parts[] = {room / n_sharing, room};
  for (const int part : parts) {
    for (PlannedRow& row : prompts) {
      const int given = std::min({uncomputed(*row.sequence) - row.n_tokens, part, room});
      row.n_tokens += given;
      room -= given;
    }
  }
  for (PlannedRow& row : prompts) row.wants_logits = row.n_tokens == uncomputed(*row.sequence);
}

// Takes over what is known behind the tokens that are computed. False: not all of it in this step.
bool Scheduler::reuse(Sequence& sequence) {
  BlockTable& table = sequence.table;
  const bool at_block = sequence.n_computed % pool_->block_size() == 0;
  if (uncomputed(sequence) == 1 || !at_block) return true;
  table.adopt(reusable(sequence));
  const bool complete = source_ == nullptr || load(sequence);
  int known = table.n_shared();
  if (complete) {
    const BlockTable::Tail tail = table.adopt_tail(reusable(sequence));
    known += tail.n_tokens;
    if (tail.copy) {
      pool_->hold_source(tail.copy->from);
      copies_.push_back(*tail.copy);
    }
    if (tail.n_tokens == 0 && source_ != nullptr) known += load_tail(sequence);
  }
  if (sequence.n_preempted == 0) sequence.n_reused += known - sequence.n_computed;
  sequence.n_computed = known;
  return complete;
}

// The same for whole blocks of the source. Each is then known to the cache.
bool Scheduler::load(Sequence& sequence) {
  BlockTable& table = sequence.table;
  const int size = pool_->block_size();
  const std::span<const TokenId> wanted = reusable(sequence);
  while (table.n_shared() + size <= int(wanted.size())) {
    const int index = table.n_shared() / size;
    if (!table.open_window(table.n_shared(), table.n_shared() + size)) return true;
    const BlockId last = index == 0 ? PrefixIndex::kRoot : table.blocks()[size_t(index) - 1];
    const BlockSource::Answer answer = source_->load(
        pool_->index().key(last), index, wanted.subspan(size_t(table.n_shared()), size_t(size)),
        table.blocks()[size_t(index)]);
    if (answer != BlockSource::Answer::loaded) return answer == BlockSource::Answer::missing;
    table.publish(wanted.first(size_t(table.n_shared() + size)));
    if (sequence.n_preempted == 0) sequence.n_loaded += size;
    table.adopt(wanted);  // the cache may know what stands behind it
  }
  return true;
}

// Tokens of an unfinished block of the source.
int Scheduler::load_tail(Sequence& sequence) {
  BlockTable& table = sequence.table;
  const std::span<const TokenId> wanted = reusable(sequence).subspan(size_t(table.n_shared()));
  const int index = table.n_shared() / pool_->block_size();
  if (wanted.empty() || !table.open_window(table.n_shared(), table.n_shared() + 1)) return 0;
  const BlockId last = index == 0 ? PrefixIndex::kRoot : table.blocks()[size_t(index) - 1];
  const int n_tokens =
      source_->load_tail(pool_->index().key(last), index, wanted, table.blocks()[size_t(index)]);
  if (sequence.n_preempted == 0) sequence.n_loaded += n_tokens;
  return n_tokens;
}

// Whether a prompt planned before it is about to compute tokens that this one could take over.
bool Scheduler::others_compute(const Sequence& sequence) const {
  const std::span<const TokenId> wanted = reusable(sequence);
  const int worth = std::min(pool_->block_size(), int(wanted.size()) - sequence.n_computed);
  for (const PlannedRow& row : plan_) {
    const Sequence& other = *row.sequence;
    if (uncomputed(other) == 1 || other.n_computed < sequence.n_computed) continue;
    const std::span<const TokenId> theirs(other.tokens);
    const auto common = std::mismatch(wanted.begin(), wanted.end(), theirs.begin(), theirs.end());
    if (common.first - wanted.begin() >= sequence.n_computed + worth) return true;
  }
  return false;
}

void Scheduler::completed(const std::vector<PlannedRow>& rows) {
  drop_copies();
  for (const PlannedRow& row : rows) {
    Sequence& sequence = *row.sequence;
    sequence.n_computed += row.n_tokens;
    if (row.n_tokens > 1 && row.wants_logits) {  // a whole prompt: others may begin with it
      sequence.table.publish_tail(computed(sequence));
    } else {
      sequence.table.publish(computed(sequence));
    }
  }
}

void Scheduler::failed(const std::vector<PlannedRow>& rows) {
  for (const PlannedRow& row : rows) row.sequence->n_computed = row.sequence->table.n_shared();
}

}  // namespace lm
