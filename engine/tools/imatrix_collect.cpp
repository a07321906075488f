#include "engine/tools/imatrix_collect.h"

#include <algorithm>
#include <cmath>

#include "engine/core/check.h"
#include "engine/core/text.h"

namespace lm {

bool ImatrixCollector::wants(std::string_view tensor) {
  return tensor.ends_with(".weight");
}

void ImatrixCollector::observe(const MatrixInput& input) {
  auto at = sums_.find(input.tensor);
  if (at == sums_.end()) at = sums_.emplace(std::string(input.tensor), Sums()).first;
  Sums& sums = at->second;
  const auto k = size_t(input.k), n_experts = size_t(input.n_experts);
  if (sums.squares.empty()) {
    sums.squares.resize(n_experts * k);
    sums.counts.resize(n_experts);
  }
  LM_CHECK(sums.squares.size() == n_experts * k && input.expert < input.n_experts);
  double* squares = sums.squares.data() + size_t(input.expert) * k;
  for (int64_t row = 0; row < input.n; ++row) {
    const std::span<const float> x = input.rows.subspan(size_t(row) * k, k);
    for (size_t i = 0; i < k; ++i) squares[i] += double(x[i]) * double(x[i]);
  }
  sums.counts[size_t(input.expert)] += double(input.n);
}

Result<Imatrix> ImatrixCollector::result() const {
  Imatrix imatrix;
  for (const auto& [name, sums] : sums_) {
    const size_t k = sums.squares.size() / sums.counts.size();
    ImatrixEntry entry;
    entry.counts.assign(sums.counts.begin(), sums.counts.end());
    for (size_t i = 0; i < sums.squares.size(); ++i) {
      const double mean = sums.squares[i] / std::max(1.0, sums.counts[i / k]);
      if (!std::isfinite(mean)) {
        return Error{ErrorCode::bad_file,
                     concat(printable(name), ": expected finite inputs, found one that is not")};
      }
      entry.mean_squares.push_back(float(std::min(mean, 1e30)));
    }
    imatrix.entries.emplace(name, std::move(entry));
  }
  return imatrix;
}

size_t ImatrixCollector::n_unused_experts() const {
  size_t n = 0;
  for (const auto& [name, sums] : sums_) n += size_t(std::ranges::count(sums.counts, 0.0));
  return n;
}

}  // namespace lm
