// engine/runtime/scheduler.h — who runs in the next step. Pure policy: no tensors, no clock.
// Sequences have an order that never changes: of arrival, but users take turns. The first that runs
// can only gain, and the first that waits is the next to run, so everything that fits the pool
// alone finishes.
#pragma once
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/core/token.h"
#include "engine/kv/block_pool.h"
#include "engine/kv/block_source.h"

namespace lm {

// One timeline: waiting -> running -> finished.
struct Sequence {
  explicit Sequence(BlockPool& pool) : table(pool) {}

  uint64_t id = 0;
  uint64_t user = 0;
  uint64_t turn = 0;            // the scheduler's: smaller ones go first
  std::vector<TokenId> tokens;  // prompt, then generated
  int n_computed = 0;           // tokens whose K and V are in the cache
  int n_reused = 0;             // tokens that it found computed when it first came to them
  int n_loaded = 0;             // of those, the ones that came from a BlockSource
  bool may_prefill = false;     // in this step
  int n_preempted = 0;          // how often it lost its blocks
  BlockTable table;
};

struct PlannedRow {
  Sequence* sequence;
  int n_tokens;       // tokens[n_computed .. n_computed + n_tokens)
  bool wants_logits;  // the chunk ends at the sequence's last token

  // The one token that has no K and V yet is the last: its logits are the next token's.
  bool is_decoding() const { return wants_logits && n_tokens == 1; }
};

class Scheduler {
 public:
  // max_seqs <= max_step_tokens: a step has room for one token of every running sequence.
  Scheduler(BlockPool& pool, int max_step_tokens, int max_seqs);

  // Where to look for what the pool does not hold; outlives the scheduler.
  void set_source(BlockSource* source) { source_ = source; }

  // Room for so many sequences at once: then nothing below needs memory that it can't do without.
  void reserve(int n_sequences) { waiting_.reserve(size_t(n_sequences)); }

  // Waits for its turn: one user's sequences in order of arrival, and among users the one who got
  // least goes first (start-time fair queuing: Goyal, Vin, Cheng, SIGCOMM 1996). The sequence has
  // tokens that are not computed yet, and must never need more blocks than the pool has: the caller
  // bounds it by the context.
  void add(Sequence* sequence);
  void remove(Sequence* sequence);  // finished or cancelled; its blocks go back
  // A running sequence whose tokens are about to be changed: all of them will be computed again.
  void restart(Sequence* sequence);
  int n_running() const { return int(running_.size()); }
  bool idle() const { return running_.empty() && waiting_.empty(); }

  // Decoding sequences first, then chunks of prefill with what is left of the step. A prompt takes
  // over what the cache knows of it, all but its last token, and waits a step for a prompt that is
  // computing the same tokens. When blocks run out, the last running sequence loses its blocks
  // and waits to be recomputed. Empty only when idle, when others than these sequences hold the
  // pool's blocks, or when the source wants to be asked again. Valid until the next call.
  const std::vector<PlannedRow>& next();
  // To be made before the planned rows are computed.
  const std::vector<BlockCopy>& copies() const { return copies_; }
  // Marks the planned rows as computed. Each sequence that wanted logits must then be given its
  // next token or be removed.
  void completed(const std::vector<PlannedRow>& rows);
  // The planned rows were not computed: each of the sequences must now be removed.
  void failed(const std::vector<PlannedRow>& rows);

  uint64_t preemptions() const { return preemptions_; }

 private:
  void reserve_blocks();
  void admit();
  bool give_blocks(Sequence& sequence);
  int pages_for(const Sequence& sequence) const;
  bool enough_pages(int more) const;
  void plan_rows();
  static void share_room(std::span<PlannedRow> prompts, int room);
  bool reuse(Sequence& sequence);
  bool load(Sequence& sequence);
  int load_tail(Sequence& sequence);
  bool others_compute(const Sequence& sequence) const;
  uint64_t next_turn(const Sequence& sequence);
  void wait(Sequence* sequence);
  void preempt_last();
  void withdraw(Sequence& sequence);
  void drop_copies();

  BlockPool* pool_;
  BlockSource* source_ = nullptr;
  int max_step_tokens_, max_seqs_;
  int most_pages_;                  // of one sequence
  std::vector<Sequence*> waiting_;  // in order, the first one last
  std::vector<Sequence*> running_;  // in order; each has blocks for all of its tokens when planned
  uint64_t now_ = 0;                // the turn of the last one admitted, or later
  std::unordered_map<uint64_t, uint64_t> next_turn_;  // of users who asked for more than others got
  std::vector<PlannedRow> plan_;
  std::vector<BlockCopy> copies_;  // what they read is held until they are made
  uint64_t preemptions_ = 0;
};

}  // namespace lm
