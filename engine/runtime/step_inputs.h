// engine/runtime/step_inputs.h — what changes from step to step, as one device buffer.
// The tensors stay at the same addresses, so that a recorded step can be replayed; they are filled
// on the host and cross with a single upload.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "backends/backend.h"
#include "engine/core/result.h"
#include "engine/core/token.h"
#include "engine/kv/block_pool.h"

namespace lm {

// One sequence's part in a step: its next tokens, appended at `first_position`.
struct StepRow {
  std::span<const TokenId> tokens;
  int first_position = 0;
  const BlockTable* table = nullptr;  // prepared for these tokens
  int n_logits = 1;                   // logits wanted for the last n_logits tokens (0: none)
};

struct StepShape {
  int max_tokens = 0, max_seqs = 0, max_logits = 0;
  int max_blocks = 0;    // of one sequence
  int block_size = 0;    // tokens
  bool windows = false;  // some layers have a window, and pages instead of blocks
};

class StepInputs {
 public:
  static Result<StepInputs> allocate(Backend& backend, const StepShape& shape);

  // Fills and uploads; the rows are within the shape.
  void assemble(std::span<const StepRow> rows);

  const StepView& view() const { return view_; }
  // The same step as layers with a window are to see it.
  const StepView& windowed() const { return shape_.windows ? windowed_ : view_; }
  Tensor logit_rows() const { return logit_rows_; }  // i32 [n_logits], of the whole step's rows

 private:
  StepInputs() = default;
  Tensor place(int64_t rows, int64_t cols);
  std::span<int32_t> host(const Tensor& tensor);
  void write_sequence(const StepRow& row, int index, int first_row);
  void write_window(const StepRow& row, int index, int first_row);
  std::span<int32_t> table_row(const StepView& view, int index);

  Backend* backend_ = nullptr;
  StepShape shape_;
  std::unique_ptr<Buffer> buffer_;
  std::vector<int32_t> staging_;  // the buffer's contents
  uint64_t placed_ = 0;           // numbers of the buffer given to tensors
  StepView view_, windowed_;
  Tensor logit_rows_;
};

}  // namespace lm
