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
  const uint64_t row = uint64_t(n_vocab) * sizeof(float);
  const uint64_t candidates = uint64_t(candidate_columns(n_vocab)) * sizeof(float);
  return uint64_t(max_logits) * (row + (is_host ? 0 : candidates + sizeof(DrawRule)));
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
  const size_t candidate_bytes = size_t(max_logits * cols * 4);
  for (Sent& sent : made->sent_) {
    sent.landing =
        LM_TRY(backend.make_landing(size_t(max_logits) * sizeof(TokenId) + candidate_bytes));
  }
  made->guesses_.reserve(size_t(max_logits));
  made->ids_.resize(size_t(max_logits) * size_t(made->k_));
  made->numbers_.resize(size_t(max_logits) * size_t(made->k_ + 2));
  made->candidates_buffer_ = LM_TRY(backend.alloc(candidate_bytes));
  made->rules_buffer_ = LM_TRY(backend.alloc(size_t(max_logits) * sizeof(DrawRule)));
  made->rules_ = {.buffer = made->rules_buffer_.get(),
                  .dtype = DType::i32,
                  .shape = {1, 1, max_logits, kDrawRuleWords},
                  .row_bytes = int64_t(sizeof(DrawRule))};
  made->candidates_ = {.buffer = made->candidates_buffer_.get(),
                       .dtype = DType::i32,
                       .shape = {1, 1, max_logits, cols},
                       .row_bytes = cols * 4};
  return made;
}

Tensor StepLogits::rows(int64_t n) const {
  return n > 0 ? first_rows(logits_, n) : Tensor{};
}

Tensor StepLogits::columns(int64_t n, int64_t first, int64_t cols, DType dtype) const {
  Tensor t = first_rows(candidates_, n);
  t.offset += uint64_t(first) * 4;
  t.shape[3] = cols;
  t.dtype = dtype;
  return t;
}

void StepLogits::find_candidates(int64_t n) {
  if (view_ != nullptr || n == 0) return;
  backend_->top_candidates({.logits = rows(n),
                            .ids = columns(n, 0, k_, DType::i32),
                            .values = columns(n, k_, k_, DType::f32),
                            .totals = columns(n, 2 * k_, 2, DType::f32)});
}

void StepLogits::draw(std::span<const DrawRule> rules, Tensor tokens) {
  const int64_t n = sent_[last_].n;
  const Tensor used = first_rows(rules_, int64_t(rules.size()));
  backend_->upload(used, std::as_bytes(rules));
  backend_->draw_tokens({.ids = columns(n, 0, k_, DType::i32),
                         .values = columns(n, k_, k_, DType::f32),
                         .rules = used,
                         .tokens = tokens});
}

void StepLogits::send(int64_t n, Tensor guesses) {
  last_ = 1 - last_;
  Sent& sent = sent_[last_];
  sent.n = n;
  sent.n_guesses = guesses ? guesses.cols() : 0;
  if (view_ != nullptr) return;
  const Tensor candidates = first_rows(candidates_, n);
  if (guesses) {
    sent.landing->send(std::array{guesses, candidates});
  } else {
    sent.landing->send(std::array{candidates});
  }
}

Result<std::span<float>> StepLogits::all(int64_t n) {
  const size_t count = size_t(n * logits_.cols());
  if (view_ == nullptr && n > 0) {
    backend_->download(std::as_writable_bytes(std::span(host_.get(), count)), rows(n));
  }
  LM_TRY(backend_->synchronize());
  return std::span(view_ != nullptr ? view_ : host_.get(), count);
}

Status StepLogits::host_rows(int age, std::vector<LogitRow>& out) {
  out.clear();
  guesses_.clear();
  rows_are_gone_ = age > 0;
  const Sent& sent = sent_[(last_ + size_t(age)) % sent_.size()];
  if (view_ != nullptr) {
    LM_TRY(backend_->synchronize());
    const size_t cols = size_t(logits_.cols());
    for (size_t row = 0; row < size_t(sent.n); ++row) {
      out.push_back(LogitRow({view_ + row * cols, cols}));
    }
    return ok();
  }
  const std::byte* next = LM_TRY(sent.landing->wait()).data();
  guesses_.resize(size_t(sent.n_guesses));
  const size_t k = size_t(k_), guess_bytes = guesses_.size() * sizeof(TokenId);
  if (guess_bytes > 0) std::memcpy(guesses_.data(), next, guess_bytes);
  next += guess_bytes;
  for (int64_t row = 0; row < sent.n; ++row, next += candidates_.row_bytes) {
    TokenId* const ids = ids_.data() + size_t(row) * k;
    float* const numbers = numbers_.data() + size_t(row) * (k + 2);
    std::memcpy(ids, next, k * sizeof(TokenId));
    std::memcpy(numbers, next + k * sizeof(TokenId), (k + 2) * sizeof(float));
    const TopLogits top = {.ids = {ids, k},
                           .values = {numbers, k},
                           .log_z = numbers[k + 1],
                           .n_vocab = logits_.cols()};
    out.push_back(LogitRow(top, *this, int(row)));
  }
  return ok();
}

std::span<float> StepLogits::fetch(int row) {
  LM_CHECK(view_ == nullptr && row >= 0 && row < logits_.rows() && !rows_are_gone_);
  const std::span<float> wanted(host_.get(), size_t(logits_.cols()));
  backend_->download(std::as_writable_bytes(wanted), row_range(logits_, row, 1));
  if (!backend_->synchronize().ok()) {
    std::fill(wanted.begin(), wanted.end(), std::numeric_limits<float>::quiet_NaN());
  }
  return wanted;
}

}  // namespace lm
