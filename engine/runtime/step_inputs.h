// engine/runtime/step_inputs.h — what changes from step to step, as one buffer in each room.
// The tensors stay at the same addresses, so that a recorded step can be replayed; they are filled
// on the host and cross with a single upload.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "backends/backend.h"
#include "engine/core/result.h"
#include "engine/core/token.h"
#include "engine/kv/block_pool.h"
#include "engine/model/model.h"

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
  static Result<StepInputs> allocate(std::span<const ModelRoom> rooms, const StepShape& shape);
  // Of one room's buffer; nullopt: no memory is that large.
  static std::optional<uint64_t> bytes(const StepShape& shape);

  // Fills and uploads; the rows are within the shape.
  void assemble(std::span<const StepRow> rows);

  // Whether sequence `index` of the step that was assembled last has one token, and it goes to the
  // place and sees what the only one of `row` does, whatever the two tokens are.
  bool holds(int index, const StepRow& row);

  // Of each room; logit_rows are of the whole step's rows. Without windows, windowed is as all.
  std::span<const RoomStep> steps() const { return steps_; }

 private:
  StepInputs() = default;
  Tensor place(int64_t rows, int64_t cols);
  void set_shape(int n_tokens, int n_seqs, int n_logits);
  void upload();
  std::span<int32_t> host(const Tensor& tensor);
  void write_sequence(const StepRow& row, int index, int first_row);
  void write_window(const StepRow& row, int index, int first_row);
  std::span<int32_t> table_row(const StepView& view, int index);

  StepShape shape_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
  std::vector<int32_t> staging_;  // the buffers' contents
  uint64_t placed_ = 0;           // numbers of a buffer given to tensors
  RoomStep step_;                 // of no room: without buffers
  std::vector<RoomStep> steps_;
};

}  // namespace lm
