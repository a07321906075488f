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

RoomStep in_buffer(RoomStep step, Buffer& buffer) {
  for (StepView* view : {&step.all, &step.windowed}) {
    for (Tensor* tensor : {&view->token_ids, &view->positions, &view->slots, &view->q_start,
                           &view->kv_len, &view->block_table}) {
      tensor->buffer = &buffer;
    }
  }
  step.logit_rows.buffer = &buffer;
  return step;
}

}  // namespace

Tensor StepInputs::place(int64_t rows, int64_t cols) {
  Tensor tensor;
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

std::optional<uint64_t> StepInputs::bytes(const StepShape& shape) {
  const uint64_t n_views = shape.windows ? 2 : 1;
  const std::optional<uint64_t> table =
      checked_mul(n_views * uint64_t(shape.max_seqs), uint64_t(shape.max_blocks));
  const uint64_t rest = (2 + n_views) * aligned(uint64_t(shape.max_tokens)) +
                        2 * aligned(uint64_t(shape.max_seqs) + 1) +
                        aligned(uint64_t(shape.max_logits));
  if (!table || *table > uint64_t(std::numeric_limits<int32_t>::max())) return std::nullopt;
  return (rest + aligned(*table)) * sizeof(int32_t);
}

Result<StepInputs> StepInputs::allocate(std::span<const ModelRoom> rooms, const StepShape& shape) {
  const std::optional<uint64_t> total = bytes(shape);
  if (!total) {
    return Error{ErrorCode::out_of_memory,
                 concat("block tables of ", shape.max_seqs, " sequences of ", shape.max_blocks,
                        " blocks are beyond memory")};
  }
  StepInputs inputs;
  inputs.shape_ = shape;
  for (const ModelRoom& room : rooms) {
    inputs.buffers_.push_back(LM_TRY(room.backend->alloc(size_t(*total))));
    LM_TRY(room.backend->expect_uploads(size_t(*total)));
  }
  inputs.steps_.resize(rooms.size());
  inputs.staging_.assign(size_t(*total / sizeof(int32_t)), 0);
  StepView& view = inputs.step_.all;
  view.block_size = shape.block_size;
  view.token_ids = inputs.place(1, shape.max_tokens);
  view.positions = inputs.place(1, shape.max_tokens);
  view.slots = inputs.place(1, shape.max_tokens);
  view.q_start = inputs.place(1, shape.max_seqs + 1);
  view.kv_len = inputs.place(1, shape.max_seqs);
  inputs.step_.logit_rows = inputs.place(1, shape.max_logits);
  Tensor window_slots;
  if (shape.windows) window_slots = inputs.place(1, shape.max_tokens);
  // Last: only its head is used, the rows of one view and then those of the other.
  view.block_table = inputs.place((shape.windows ? 2 : 1) * shape.max_seqs, shape.max_blocks);
  inputs.step_.windowed.slots = window_slots;
  LM_CHECK(inputs.placed_ <= inputs.staging_.size());
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
  set_shape(n_tokens, n_seqs, n_logits);

  int first_row = 0, logit = 0;
  for (int s = 0; s < n_seqs; ++s) {
    const StepRow& row = rows[size_t(s)];
    write_sequence(row, s, first_row);
    if (shape_.windows) write_window(row, s, first_row);
    first_row += int(row.tokens.size());
    for (int i = row.n_logits; i > 0; --i) host(step_.logit_rows)[size_t(logit++)] = first_row - i;
  }
  host(step_.all.q_start)[size_t(n_seqs)] = n_tokens;
  upload();
}

void StepInputs::set_shape(int n_tokens, int n_seqs, int n_logits) {
  StepView& view = step_.all;
  view.n_tokens = n_tokens;
  view.n_seqs = n_seqs;
  set_cols(view.token_ids, n_tokens);
  set_cols(view.positions, n_tokens);
  set_cols(view.slots, n_tokens);
  set_cols(view.q_start, n_seqs + 1);
  set_cols(view.kv_len, n_seqs);
  set_cols(step_.logit_rows, n_logits);
  view.block_table.shape[2] = n_seqs;
  const Tensor slots = step_.windowed.slots;
  step_.windowed = view;
  if (!shape_.windows) return;
  step_.windowed.slots = slots;
  set_cols(step_.windowed.slots, n_tokens);
  step_.windowed.block_table.offset += uint64_t(n_seqs) * uint64_t(view.block_table.row_bytes);
}

void StepInputs::upload() {
  const StepView& last = step_.windowed;
  const uint64_t used = last.block_table.offset / sizeof(int32_t) +
                        uint64_t(last.n_seqs) * uint64_t(shape_.max_blocks);
  for (size_t i = 0; i < buffers_.size(); ++i) {
    steps_[i] = in_buffer(step_, *buffers_[i]);
    Tensor head = steps_[i].all.token_ids;  // the first tensor of the buffer
    set_cols(head, int64_t(used));
    head.room().upload(head, std::as_bytes(std::span(staging_).first(size_t(used))));
  }
}

void StepInputs::write_sequence(const StepRow& row, int index, int first_row) {
  const int n = int(row.tokens.size());
  LM_CHECK(n >= 1 && row.n_logits >= 0 && row.n_logits <= n && row.first_position >= 0);
  const int kv_len = row.first_position + n;
  LM_CHECK(row.table->capacity() >= kv_len);
  std::copy(row.tokens.begin(), row.tokens.end(),
            host(step_.all.token_ids).begin() + std::ptrdiff_t(first_row));
  for (int i = 0; i < n; ++i) {
    const int position = row.first_position + i;
    host(step_.all.positions)[size_t(first_row + i)] = position;
    host(step_.all.slots)[size_t(first_row + i)] = row.table->slot(position);
  }
  host(step_.all.q_start)[size_t(index)] = first_row;
  host(step_.all.kv_len)[size_t(index)] = kv_len;

  const std::vector<BlockId>& blocks = row.table->blocks();
  const size_t used = size_t((kv_len + shape_.block_size - 1) / shape_.block_size);
  LM_CHECK(used <= size_t(shape_.max_blocks));
  const std::span<int32_t> entries = table_row(step_.all, index);
  std::copy_n(blocks.begin(), used, entries.begin());
  std::fill(entries.begin() + std::ptrdiff_t(used), entries.end(), -1);
}

void StepInputs::write_window(const StepRow& row, int index, int first_row) {
  const int n = int(row.tokens.size()), kv_len = row.first_position + n;
  LM_CHECK(row.table->writable() >= kv_len);
  for (int i = 0; i < n; ++i) {
    host(step_.windowed.slots)[size_t(first_row + i)] =
        row.table->window_slot(row.first_position + i);
  }
  const std::span<int32_t> entries = table_row(step_.windowed, index);
  std::fill(entries.begin(), entries.end(), -1);
  for (int i = row.table->first_page(); i * shape_.block_size < kv_len; ++i) {
    entries[size_t(i)] = row.table->page(i);
  }
}

bool StepInputs::holds(int index, const StepRow& row) {
  const size_t at = size_t(index), first = size_t(host(step_.all.q_start)[at]);
  if (size_t(host(step_.all.q_start)[at + 1]) != first + 1 || row.tokens.size() != 1) return false;
  const BlockTable& table = *row.table;
  const int position = row.first_position, n_blocks = position / shape_.block_size + 1;
  if (host(step_.all.positions)[first] != position ||
      host(step_.all.slots)[first] != table.slot(position) ||
      !std::equal(table.blocks().begin(), table.blocks().begin() + n_blocks,
                  table_row(step_.all, index).begin())) {
    return false;
  }
  if (!shape_.windows) return true;
  const std::span<const int32_t> pages = table_row(step_.windowed, index);
  for (int i = table.first_page(); i < n_blocks; ++i) {
    if (pages[size_t(i)] != table.page(i)) return false;
  }
  return host(step_.windowed.slots)[first] == table.window_slot(position);
}

std::span<int32_t> StepInputs::table_row(const StepView& view, int index) {
  const size_t first = view.block_table.offset / sizeof(int32_t);
  const size_t cols = size_t(shape_.max_blocks);
  return std::span(staging_).subspan(first + size_t(index) * cols, cols);
}

}  // namespace lm
