// engine/tools/hessian_collector.h — adds up what enters the matrices of one layer while sequences
// run through it: the Hessian of each group of matrices, and what the experts read as a whole.
#pragma once
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backends/observe.h"
#include "engine/core/result.h"
#include "engine/core/thread_pool.h"
#include "engine/tools/layer_tensors.h"
#include "quant/hessian.h"

namespace lm {

class HessianCollector final : public ActivationObserver {
 public:
  explicit HessianCollector(ThreadPool& threads) : threads_(threads) {}

  // From now on the inputs of these groups, and of `router` (empty: there is none).
  Status watch(std::span<const InputGroup> groups, const std::string& router);
  void begin_sequence();
  void stop();  // frees what was collected

  // In the order of the groups. An expert's may have no rows; any other's is an error then.
  Result<std::vector<Hessian>> finish();
  // Of what the router read, by column; empty where there is none.
  std::vector<float> router_mean_squares() const;

  bool wants(std::string_view tensor) override;
  void observe(const MatrixInput& input) override;

 private:
  struct Slot {
    std::string tensor;
    int expert;  // -1: every token
    Hessian hessian;
    bool seen = false;  // in this sequence
  };
  void add_squares(const MatrixInput& input);

  ThreadPool& threads_;
  std::vector<Slot> slots_;
  std::string router_;
  std::vector<float> squares_;
  int64_t n_router_rows_ = 0;
};

}  // namespace lm
