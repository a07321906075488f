// engine/tools/bench_steps.h — forward passes of an Instance as a prompt or a generation makes
// them, over tokens that mean nothing.
#pragma once
#include <vector>

#include "engine/core/result.h"
#include "engine/core/token.h"
#include "engine/runtime/instance.h"

namespace lm {

class BenchSteps {
 public:
  BenchSteps(Instance& instance, int n_seqs);

  // Room in the cache for this many tokens of each sequence.
  Status reserve(int n_tokens);
  // n tokens of each sequence from `position` on, in steps as large as the instance takes.
  Status prompt(int position, int n);
  // n tokens of each sequence from `position` on, one of each in a step.
  Status generate(int position, int n);

 private:
  Status open_window(BlockTable& table, int position, int n);
  Status place(int position, int i);

  Instance* instance_;
  int reserved_ = 0;                // tokens
  std::vector<BlockTable> tables_;  // one a sequence
  std::vector<TokenId> tokens_;     // [max_step_tokens + n_seqs]
  std::vector<StepRow> rows_;
  std::vector<DrawRule> rules_;  // of rows_
  std::vector<LogitRow> logits_;
};

}  // namespace lm
