// engine/runtime/scheduler.h — who runs in the next step. Pure policy: no tensors, no clock.
#pragma once
#include <deque>
#include <vector>

#include "engine/core/token.h"
#include "engine/kv/block_pool.h"

namespace lm {

struct Sequence {                // one timeline: waiting -> running -> finished
  uint64_t id = 0;
  std::vector<TokenId> tokens;   // prompt, then generated
  int n_computed = 0;            // tokens whose K and V are in the cache
  BlockTable table;
};

struct PlannedRow {
  Sequence* sequence;
  int n_tokens;                  // tokens[n_computed .. n_computed + n_tokens)
  bool wants_logits;             // the chunk ends at the sequence's last token
};

class Scheduler {
 public:
  Scheduler(BlockPool& pool, int max_step_tokens, int max_seqs);

  void add(Sequence* sequence);     // waits for its turn, first come first served
  void remove(Sequence* sequence);  // finished or cancelled; its blocks go back
  bool idle() const;

  // Decoding sequences first, then chunks of prefill with what is left of the step. When blocks run
  // out, the youngest running sequence loses its blocks and waits to be recomputed.
  const std::vector<PlannedRow>& next();
  // Marks the planned rows as computed.
  void completed(const std::vector<PlannedRow>& rows);

 private:
  BlockPool* pool_;
  int max_step_tokens_, max_seqs_;
  std::deque<Sequence*> waiting_;
  std::vector<Sequence*> running_;  // in order of admission
  std::vector<PlannedRow> plan_;
};

}  // namespace lm
