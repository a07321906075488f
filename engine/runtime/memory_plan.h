// engine/runtime/memory_plan.h — how long a context the memory allows. Pure arithmetic, so that
// every refusal can be tested without a model.
#pragma once
#include <cstdint>

#include "engine/core/result.h"

namespace lm {

struct MemoryWish {
  int n_ctx = 0;                  // tokens of one sequence; 0: the smaller of trained and what fits
  int n_ctx_train = 0;            // what the model was trained for
  int max_seqs = 1;               // sequences at once; they share the blocks
  uint64_t kv_budget = 0;         // bytes; 0: everything for a stated n_ctx, half of it otherwise
  int block_size = 32;            // tokens
  uint64_t block_bytes = 0;       // of all layers without a window
  uint64_t page_bytes = 0;        // of a block in those that have one; 0: there are none
  int window = 0;                 // tokens that they see
  int step_tokens = 1;            // most that one step adds to a sequence
  uint64_t weight_bytes = 0;      // taken off the memory first
  bool weights_may_stay = false;  // in the file, where they do not fit: the KV gets half of memory
  uint64_t memory_bytes = 0;      // of the device, available now
};

struct MemoryPlan {
  int n_ctx = 0;
  bool weights_stay = false;
  int n_blocks = 0;  // at least one sequence of n_ctx tokens, at most max_seqs of them
  int n_pages = 0;   // of layers with a window, likewise; a few more stay for what may come again
};

// out_of_memory, with the numbers, when not even that fits.
Result<MemoryPlan> plan_memory(const MemoryWish& wish);

}  // namespace lm
