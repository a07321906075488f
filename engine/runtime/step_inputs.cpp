#include "engine/runtime/step_inputs.h"

#include <algorithm>
#include <limits>

#include "engine/core/check.h"
#include "engine/core/checked.h"
#include "engine/core/text.h"

namespace lm {
namespace {

constexpr uint64_t kAlignment = 16;  // numbers: every tensor starts a cache line

uint64_t aligned(uint64_t n) {
  return (n + kAlignment - 1) / kAlignment * kAlignment;
}

void set_cols(Tensor& tensor, int64_t cols) {
  tensor.shape[3] = cols;
  tensor.row_bytes = cols * int64_t(sizeof(int32_t));
}

}  // namespace

Tensor StepInputs::place(int64_t rows, int64_t cols) {
  Tensor tensor;
  tensor.buffer = buffer_.get();
  tensor.offset = placed_ * sizeof(int32_t);
  tensor.dtype = DType::i32;
  tensor.shape = {1, 1, rows, cols};
  tensor.row_bytes = cols * int64_t(sizeof(int32_t));
  placed_ += aligned(uint64_t(rows * cols));
  return tensor;
}

std::span<int32_t> StepInputs::host(const Tensor& tensor) {
  return std::span(staging_).subspan(tensor.offset / sizeof(int32_t),
                                     size_t(tensor.rows() * tensor.cols()));
}

Result<StepInputs> StepInputs::allocate(Backend& backend, const StepShape& shape) {
  const uint64_t n_views = shape.windows ? 2 : 1;
  const std::optional<uint64_t> table =
      checked_mul(n_views * uint64_t(shape.max_seqs), uint64_t(shape.max_blocks));
  const uint64_t rest = (2 + n_views) * aligned(uint64_t(shape.max_tokens)) +
                        2 * aligned(uint64_t(shape.max_seqs) + 1) +
                        aligned(uint64_t(shape.max_logits));
  if (!table || *table > uint64_t(std::numeric_limits<int32_t>::max())) {
    return Error{ErrorCode::out_of_memory,
                 concat("block tables of ", shape.max_seqs, " sequences of ", shape.max_blocks,
                        " blocks are beyond memory")};
  }
  const uint64_t total = rest + aligned(*table);

  StepInputs inputs;
  inputs.backend_ = &backend;
  inputs.shape_ = shape;
  inputs.buffer_ = LM_TRY(backend.alloc(size_t(total) * sizeof(int32_t)));
  inputs.staging_.assign(size_t(total), 0);
  StepView& view = inputs.view_;
  view.block_size = shape.block_size;
  view.token_ids = inputs.place(1, shape.max_tokens);
  view.positions = inputs.place(1, shape.max_tokens);
  view.slots = inputs.place(1, shape.max_tokens);
  view.q_start = inputs.place(1, shape.max_seqs + 1);
  view.kv_len = inputs.place(1, shape.max_seqs);
  inputs.logit_rows_ = inputs.place(1, shape.max_logits);
  Tensor window_slots;
  if (shape.windows) window_slots = inputs.place(1, shape.max_tokens);
  // Last: only its head is used, the rows of one view and then those of the other.
  view.block_table = inputs.place(int64_t(n_views) * shape.max_seqs, shape.max_blocks);
  inputs.windowed_.slots = window_slots;
  LM_CHECK(inputs.placed_ <= total);
  return inputs;
}

void StepInputs::assemble(std::span<const StepRow> rows) {
  int n_tokens = 0, n_logits = 0;
  for (const StepRow& row : rows) {
    n_tokens += int(row.tokens.size());
    n_logits += row.n_logits;
  }
  const int n_seqs = int(rows.size());
  LM_CHECK(n_seqs >= 1 && n_seqs <= shape_.max_seqs);
  LM_CHECK(n_tokens <= shape_.max_tokens && n_logits <= shape_.max_logits);
  view_.n_tokens = n_tokens;
  view_.n_seqs = n_seqs;
  set_cols(view_.token_ids, n_tokens);
  set_cols(view_.positions, n_tokens);
  set_cols(view_.slots, n_tokens);
  set_cols(view_.q_start, n_seqs + 1);
  set_cols(view_.kv_len, n_seqs);
  set_cols(logit_rows_, n_logits);
  view_.block_table.shape[2] = n_seqs;
  if (shape_.windows) {
    const Tensor slots = windowed_.slots;
    windowed_ = view_;
    windowed_.slots = slots;
    set_cols(windowed_.slots, n_tokens);
    windowed_.block_table.offset += uint64_t(n_seqs) * uint64_t(view_.block_table.row_bytes);
  }

  int first_row = 0, logit = 0;
  for (int s = 0; s < n_seqs; ++s) {
    const StepRow& row = rows[size_t(s)];
    write_sequence(row, s, first_row);
    if (shape_.windows) write_window(row, s, first_row);
    first_row += int(row.tokens.size());
    for (int i = row.n_logits; i > 0; --i) host(logit_rows_)[size_t(logit++)] = first_row - i;
  }
  host(view_.q_start)[size_t(n_seqs)] = n_tokens;

  const uint64_t used = windowed().block_table.offset / sizeof(int32_t) +
                        uint64_t(n_seqs) * uint64_t(shape_.max_blocks);
  Tensor head = view_.token_ids;  // the first tensor of the buffer
  set_cols(head, int64_t(used));
  backend_->upload(head, std::as_bytes(std::span(staging_).first(size_t(used))));
}

void StepInputs::write_sequence(const StepRow& row, int index, int first_row) {
  const int n = int(row.tokens.size());
  LM_CHECK(n >= 1 && row.n_logits >= 0 && row.n_logits <= n && row.first_position >= 0);
  const int kv_len = row.first_position + n;
  LM_CHECK(row.table->capacity() >= kv_len);
  std::copy(row.tokens.begin(), row.tokens.end(),
            host(view_.token_ids).begin() + std::ptrdiff_t(first_row));
  for (int i = 0; i < n; ++i) {
    const int position = row.first_position + i;
    host(view_.positions)[size_t(first_row + i)] = position;
    host(view_.slots)[size_t(first_row + i)] = row.table->slot(position);
  }
  host(view_.q_start)[size_t(index)] = first_row;
  host(view_.kv_len)[size_t(index)] = kv_len;

  const std::vector<BlockId>& blocks = row.table->blocks();
  const size_t used = size_t((kv_len + shape_.block_size - 1) / shape_.block_size);
  LM_CHECK(used <= size_t(shape_.max_blocks));
  const std::span<int32_t> entries = table_row(view_, index);
  std::copy_n(blocks.begin(), used, entries.begin());
  std::fill(entries.begin() + std::ptrdiff_t(used), entries.end(), -1);
}

void StepInputs::write_window(const StepRow& row, int index, int first_row) {
  const int n = int(row.tokens.size()), kv_len = row.first_position + n;
  LM_CHECK(row.table->writable() >= kv_len);
  for (int i = 0; i < n; ++i) {
    host(windowed_.slots)[size_t(first_row + i)] = row.table->window_slot(row.first_position + i);
  }
  const std::span<int32_t> entries = table_row(windowed_, index);
  std::fill(entries.begin(), entries.end(), -1);
  for (int i = row.table->first_page(); i * shape_.block_size < kv_len; ++i) {
    entries[size_t(i)] = row.table->page(i);
  }
}

std::span<int32_t> StepInputs::table_row(const StepView& view, int index) {
  const size_t first = view.block_table.offset / sizeof(int32_t);
  const size_t cols = size_t(shape_.max_blocks);
  return std::span(staging_).subspan(first + size_t(index) * cols, cols);
}

}  // namespace lm
