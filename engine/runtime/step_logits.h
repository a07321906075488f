// engine/runtime/step_logits.h — the memory of a step's logits, and how they reach the host: as
// they are where the host can read them, else the largest of each row, and a whole row when it is
// asked for.
#pragma once
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

  // Wait for the step. [n, n_vocab], overwritten by the next step.
  Result<std::span<float>> all(int64_t n);
  Status host_rows(int64_t n, std::vector<LogitRow>& out);
  // NaN when the device fails: no token comes of it.
  std::span<float> fetch(int row) override;

 private:
  StepLogits() = default;

  Backend* backend_ = nullptr;
  std::unique_ptr<Buffer> buffer_, candidates_buffer_;
  Tensor logits_;
  float* view_ = nullptr;          // of the logits, where the host can read them
  std::unique_ptr<float[]> host_;  // else a copy
  // Each row: k ids, k values, the largest logit and log Σ exp(logit - it).
  Tensor candidates_;  // i32 [max_logits, 2 k + 2]
  std::vector<std::byte> downloaded_;
  std::vector<TokenId> ids_;    // [max_logits, k]
  std::vector<float> numbers_;  // [max_logits, k + 2]
  int k_ = 0;
};

}  // namespace lm
