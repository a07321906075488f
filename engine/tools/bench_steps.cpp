#include "engine/tools/bench_steps.h"

#include <algorithm>

#include "engine/core/text.h"

namespace lm {

BenchSteps::BenchSteps(Instance& instance, int n_seqs) : instance_(&instance) {
  for (int s = 0; s < n_seqs; ++s) tables_.emplace_back(instance.pool());
  // A linear congruential walk through the vocabulary (Numerical Recipes' constants).
  const uint32_t n_vocab = uint32_t(std::max(instance.config().n_vocab, 1));
  uint32_t state = 1;
  tokens_.resize(size_t(instance.max_step_tokens() + n_seqs));
  for (TokenId& token : tokens_) {
    state = state * 1664525 + 1013904223;
    token = TokenId((state >> 8) % n_vocab);
  }
  rows_.resize(size_t(n_seqs));
  rules_.resize(size_t(n_seqs));  // the largest logit
  for (int s = 0; s < n_seqs; ++s) rules_[size_t(s)].row = s;
}

Status BenchSteps::reserve(int n_tokens) {
  reserved_ = n_tokens;
  for (BlockTable& table : tables_) {
    if (!table.grow(n_tokens)) {
      return Error{ErrorCode::out_of_memory,
                   concat("expected a KV cache for ", tables_.size(), " sequences of ", n_tokens,
                          " tokens, found less memory")};
    }
  }
  return ok();
}

// A repetition goes back to where the first one began, of which a window may have been let go: what
// its keys are means nothing here.
Status BenchSteps::open_window(BlockTable& table, int position, int n) {
  const bool back = table.first_page() * instance_->pool().block_size() >
                    std::max(position - instance_->pool().window(), 0);
  if (back) table.clear();
  if (table.grow(reserved_) && table.open_window(position, position + n)) return ok();
  return Error{ErrorCode::out_of_memory, concat("expected a KV cache for the windows of ",
                                                tables_.size(), " sequences, found less memory")};
}

Status BenchSteps::prompt(int position, int n) {
  for (BlockTable& table : tables_) {
    for (int done = 0; done < n;) {
      const int step = std::min(n - done, instance_->max_step_tokens());
      LM_TRY(open_window(table, position + done, step));
      const bool last = done + step == n;
      const StepRow row{.tokens = std::span(tokens_).first(size_t(step)),
                        .first_position = position + done,
                        .table = &table,
                        .n_logits = last ? 1 : 0};
      LM_TRY(instance_->compute({&row, 1}, logits_));
      done += step;
    }
  }
  return ok();
}

// The next token of each sequence, at place `i` of the walk.
Status BenchSteps::place(int position, int i) {
  for (size_t s = 0; s < tables_.size(); ++s) {
    const size_t at = (size_t(i) + s) % tokens_.size();
    LM_TRY(open_window(tables_[s], position, 1));
    rows_[s] = {.tokens = std::span(tokens_).subspan(at, 1),
                .first_position = position,
                .table = &tables_[s]};
  }
  return ok();
}

// Where the engine would launch a step before it has collected the one in front, so does this: then
// the tokens are those that the device draws.
Status BenchSteps::generate(int position, int n) {
  const bool ahead = instance_->runs_ahead();
  for (int i = 0; i < n; ++i) {
    LM_TRY(place(position + i, i));
    if (!ahead || i == 0) {
      LM_TRY(instance_->launch(rows_));
    } else {
      LM_TRY(instance_->launch_ahead(rows_, rules_));
      LM_TRY(instance_->collect(1, logits_));
    }
    if (!ahead || i + 1 == n) LM_TRY(instance_->collect(0, logits_));
  }
  return ok();
}

}  // namespace lm
