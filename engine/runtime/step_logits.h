// engine/runtime/step_logits.h — the memory of a step's logits, and how they reach the host: as
// they are where the host can read them, else the largest of each row, and a whole row when it is
// asked for.
#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "backends/backend.h"
#include "engine/core/result.h"
#include "engine/sample/logit_row.h"

namespace lm {

class StepLogits final : public LogitSource {
 public:
  static Result<std::unique_ptr<StepLogits>> allocate(Backend& backend, int max_logits,
                                                      int n_vocab);
  // What that takes of a backend's memory, which the host can read or not.
  static uint64_t bytes(int max_logits, int n_vocab, bool is_host);

  // f32 [n, n_vocab]: where the step puts n rows; an empty tensor for 0.
  Tensor rows(int64_t n) const;
  // Enqueues what host_rows needs of n rows; part of the step.
  void find_candidates(int64_t n);
  // Draws a token for each rule from the candidates of the step that was enqueued last.
  void draw(std::span<const DrawRule> rules, Tensor tokens);
  // Behind the step: enqueues what brings its candidates to the host, and the tokens `guesses` that
  // it was given (empty: the host knows them). Of two steps in turn.
  void send(int64_t n, Tensor guesses);

  // Wait for the step. [n, n_vocab], overwritten by the next step.
  Result<std::span<float>> all(int64_t n);
  // `age` 1: of the step before the one that was enqueued last; of its rows nothing is left but the
  // candidates. Valid until the next call.
  Status host_rows(int age, std::vector<LogitRow>& out);
  std::span<const TokenId> guesses() const { return guesses_; }  // of host_rows()
  // NaN when the device fails: no token comes of it.
  std::span<float> fetch(int row) override;

 private:
  // What comes of a step.
  struct Sent {
    std::unique_ptr<Landing> landing;  // its guesses, then its candidates; empty with a view_
    int64_t n = 0, n_guesses = 0;
  };

  StepLogits() = default;
  Tensor columns(int64_t n, int64_t first, int64_t cols, DType dtype) const;

  Backend* backend_ = nullptr;
  std::unique_ptr<Buffer> buffer_, candidates_buffer_, rules_buffer_;
  Tensor logits_;
  float* view_ = nullptr;          // of the logits, where the host can read them
  std::unique_ptr<float[]> host_;  // else a copy
  // Each row: k ids, k values, the largest logit and log Σ exp(logit - it).
  Tensor candidates_;  // i32 [max_logits, 2 k + 2]
  Tensor rules_;       // [max_logits] DrawRule
  std::array<Sent, 2> sent_;
  size_t last_ = 0;             // of sent_
  bool rows_are_gone_ = false;  // of host_rows()
  std::vector<TokenId> guesses_;
  std::vector<TokenId> ids_;    // [max_logits, k]
  std::vector<float> numbers_;  // [max_logits, k + 2]
  int k_ = 0;
};

}  // namespace lm
