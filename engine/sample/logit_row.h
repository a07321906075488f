// engine/sample/logit_row.h — the logits of one position, as sampling reads them: all of them, or
// the largest and a way to the others, which may be far away.
#pragma once
#include <algorithm>
#include <cstdint>
#include <span>

#include "engine/core/token.h"

namespace lm {

// The largest logits, largest first, ties by the lower id; NaN was -inf, +inf the largest number.
struct TopLogits {
  std::span<const TokenId> ids;
  std::span<const float> values;
  float log_z = 0;  // log Σ exp(logit - values[0]) over the vocabulary
  int64_t n_vocab = 0;

  bool complete() const { return int64_t(ids.size()) >= n_vocab; }
};

// Where all logits of a row can be had.
class LogitSource {
 public:
  virtual ~LogitSource() = default;
  virtual std::span<float> fetch(int row) = 0;  // [n_vocab]; overwritten by the next call
};

class LogitRow {
 public:
  explicit LogitRow(std::span<float> all) : all_(all) {}
  LogitRow(const TopLogits& top, LogitSource& source, int row)
      : top_(top), source_(&source), row_(row) {}

  // nullptr: all() costs nothing.
  const TopLogits* top() const { return source_ != nullptr ? &top_ : nullptr; }
  // Scratch for who reads them.
  std::span<float> all() { return source_ != nullptr ? source_->fetch(row_) : all_; }

 private:
  std::span<float> all_;
  TopLogits top_;
  LogitSource* source_ = nullptr;
  int row_ = 0;
};

}  // namespace lm
