#include "engine/runtime/step_logits.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "engine/core/check.h"
#include "engine/core/checked.h"
#include "engine/core/text.h"

namespace lm {
namespace {

// i32 columns of a row of candidates: ids, values, and two totals.
int64_t candidate_columns(int n_vocab) {
  return 2 * int64_t(std::min(kMostCandidates, n_vocab)) + 2;
}

}  // namespace

uint64_t StepLogits::bytes(int max_logits, int n_vocab, bool is_host) {
  const int64_t columns = n_vocab + (is_host ? 0 : candidate_columns(n_vocab));
  return uint64_t(max_logits) * uint64_t(columns) * sizeof(float);
}

Result<std::unique_ptr<StepLogits>> StepLogits::allocate(Backend& backend, int max_logits,
                                                         int n_vocab) {
  const std::optional<uint64_t> count = checked_mul(uint64_t(max_logits), uint64_t(n_vocab));
  const std::optional<uint64_t> bytes = count ? checked_mul(*count, sizeof(float)) : std::nullopt;
  if (!bytes || *bytes > std::numeric_limits<size_t>::max() / 2) {
    return Error{ErrorCode::out_of_memory, concat("logits of ", max_logits, " rows of ", n_vocab,
                                                  " tokens are beyond memory")};
  }
  std::unique_ptr<StepLogits> made(new StepLogits);
  made->backend_ = &backend;
  made->buffer_ = LM_TRY(backend.alloc(size_t(*bytes)));
  made->logits_ = {.buffer = made->buffer_.get(),
                   .shape = {1, 1, max_logits, n_vocab},
                   .row_bytes = int64_t(n_vocab) * int64_t(sizeof(float))};
  made->view_ = reinterpret_cast<float*>(backend.host_view(made->logits_));
  if (made->view_ != nullptr) return made;

  made->host_ = std::make_unique_for_overwrite<float[]>(size_t(*count));
  made->k_ = std::min(kMostCandidates, n_vocab);
  const int64_t cols = candidate_columns(n_vocab);
  made->downloaded_.resize(size_t(max_logits * cols * 4));
  made->ids_.resize(size_t(max_logits) * size_t(made->k_));
  made->numbers_.resize(size_t(max_logits) * size_t(made->k_ + 2));
  made->candidates_buffer_ = LM_TRY(backend.alloc(made->downloaded_.size()));
  made->candidates_ = {.buffer = made->candidates_buffer_.get(),
                       .dtype = DType::i32,
                       .shape = {1, 1, max_logits, cols},
                       .row_bytes = cols * 4};
  return made;
}

Tensor StepLogits::rows(int64_t n) const {
  return n > 0 ? first_rows(logits_, n) : Tensor{};
}

void StepLogits::find_candidates(int64_t n) {
  if (view_ != nullptr || n == 0) return;
  const auto columns = [&](int64_t first, int64_t cols, DType dtype) {
    Tensor t = first_rows(candidates_, n);
    t.offset += uint64_t(first) * 4;
    t.shape[3] = cols;
    t.dtype = dtype;
    return t;
  };
  backend_->top_candidates({.logits = rows(n),
                            .ids = columns(0, k_, DType::i32),
                            .values = columns(k_, k_, DType::f32),
                            .totals = columns(2 * k_, 2, DType::f32)});
}

Result<std::span<float>> StepLogits::all(int64_t n) {
  const size_t count = size_t(n * logits_.cols());
  if (view_ == nullptr && n > 0) {
    backend_->download(std::as_writable_bytes(std::span(host_.get(), count)), rows(n));
  }
  LM_TRY(backend_->synchronize());
  return std::span(view_ != nullptr ? view_ : host_.get(), count);
}

Status StepLogits::host_rows(int64_t n, std::vector<LogitRow>& out) {
  out.clear();
  const size_t row_bytes = size_t(candidates_.row_bytes), k = size_t(k_);
  if (view_ == nullptr && n > 0) {
    backend_->download(std::span(downloaded_).first(size_t(n) * row_bytes),
                       first_rows(candidates_, n));
  }
  LM_TRY(backend_->synchronize());
  for (int64_t row = 0; row < n; ++row) {
    if (view_ != nullptr) {
      out.push_back(LogitRow({view_ + row * logits_.cols(), size_t(logits_.cols())}));
      continue;
    }
    const std::byte* const candidates = downloaded_.data() + size_t(row) * row_bytes;
    TokenId* const ids = ids_.data() + size_t(row) * k;
    float* const numbers = numbers_.data() + size_t(row) * (k + 2);
    std::memcpy(ids, candidates, k * sizeof(TokenId));
    std::memcpy(numbers, candidates + k * sizeof(TokenId), (k + 2) * sizeof(float));
    const TopLogits top = {.ids = {ids, k},
                           .values = {numbers, k},
                           .log_z = numbers[k + 1],
                           .n_vocab = logits_.cols()};
    out.push_back(LogitRow(top, *this, int(row)));
  }
  return ok();
}

std::span<float> StepLogits::fetch(int row) {
  LM_CHECK(view_ == nullptr && row >= 0 && row < logits_.rows());
  const std::span<float> wanted(host_.get(), size_t(logits_.cols()));
  backend_->download(std::as_writable_bytes(wanted), row_range(logits_, row, 1));
  if (!backend_->synchronize().ok()) {
    std::fill(wanted.begin(), wanted.end(), std::numeric_limits<float>::quiet_NaN());
  }
  return wanted;
}

}  // namespace lm
