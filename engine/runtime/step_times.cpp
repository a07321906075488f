#include "engine/runtime/step_times.h"

#include <algorithm>

namespace lm {
namespace {

// A measurement is old after this many passes: the context has grown, the machine may be another.
constexpr uint64_t kFresh = 256;
// A row more, as a part of a pass with one row, while nothing is known: weights are read once.
constexpr double kAssumedSlope = 0.1;
// Fewer rows say little about rows in bulk.
constexpr int kLeastPromptRows = 16;

}  // namespace

void StepTimes::note(int rows, double seconds) {
  if (rows < 1 || rows > kMaxRows || !(seconds > 0)) return;
  Size& size = sizes_[size_t(rows)];
  ++newest_;
  if (newest_ - size.newest > kFresh) size.n = 0;
  size.last[size_t(size.n++ % kSamples)] = seconds;
  if (size.n == 2 * kSamples) size.n = kSamples;
  size.newest = newest_;
  std::array<double, kSamples> sorted = size.last;
  const auto end = sorted.begin() + std::min(size.n, kSamples);
  const auto middle = sorted.begin() + (std::min(size.n, kSamples) - 1) / 2;
  std::nth_element(sorted.begin(), middle, end);
  size.median = *middle;
  largest_ = std::max(largest_, rows);
  update(rows);
}

void StepTimes::note_prompt(int rows, double seconds) {
  if (rows < kLeastPromptRows || !(seconds > 0)) return;
  prompt_rows_ = rows;
  prompt_seconds_ = seconds;
}

// A pass with fewer rows never takes longer: a slow measurement of one is noise.
void StepTimes::update(int rows) {
  for (int r = rows; r >= 1; --r) {
    const Size& size = sizes_[size_t(r)];
    const double more = r < largest_ ? least_[size_t(r + 1)] : 0;
    const double here = size.n > 0 ? size.median : 0;
    least_[size_t(r)] = here > 0 && more > 0 ? std::min(here, more) : std::max(here, more);
  }
}

bool StepTimes::fresh(int rows) const {
  if (rows < 1 || rows > kMaxRows) return false;
  const Size& size = sizes_[size_t(rows)];
  return size.n > 0 && newest_ - size.newest <= kFresh;
}

double StepTimes::seconds(int rows) const {
  // The measured sizes on both sides.
  int below = std::min(rows, kMaxRows), above = rows;
  while (below >= 1 && sizes_[size_t(below)].n == 0) --below;
  while (above <= largest_ && sizes_[size_t(above)].n == 0) ++above;
  const bool bounded = above <= largest_;
  if (below < 1) return bounded ? least_[size_t(above)] : 0;
  const double low = least_[size_t(below)];
  if (below == rows) return low;
  double slope = kAssumedSlope * low / below;
  if (bounded) {
    slope = (least_[size_t(above)] - low) / (above - below);
  } else if (prompt_rows_ > below) {
    slope = std::max(0.0, prompt_seconds_ - low) / (prompt_rows_ - below);
  } else {
    int first = 1;
    while (sizes_[size_t(first)].n == 0) ++first;
    if (first < below) slope = (low - least_[size_t(first)]) / (below - first);
  }
  return low + slope * (rows - below);
}

}  // namespace lm
