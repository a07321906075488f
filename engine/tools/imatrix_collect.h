// engine/tools/imatrix_collect.h — an importance matrix of a model over a text, from the inputs of
// its matrices as our own engine computes them.
#pragma once
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "backends/observe.h"
#include "engine/tools/imatrix.h"

namespace lm {

// Adds up the squares of everything that enters a matrix: hand it to an Instance and run text.
class ImatrixCollector final : public ActivationObserver {
 public:
  bool wants(std::string_view tensor) override;
  void observe(const MatrixInput& input) override;

  // What was seen so far. bad_file when something was not finite.
  Result<Imatrix> result() const;
  // Experts that no token went to, over all matrices.
  size_t n_unused_experts() const;

 private:
  struct Sums {
    std::vector<double> squares;  // [n_experts, k]
    std::vector<double> counts;   // [n_experts]
  };
  std::map<std::string, Sums, std::less<>> sums_;
};

}  // namespace lm
