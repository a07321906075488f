// engine/tools/hessian_collector.h — adds up what enters the matrices of one layer while sequences
// run through it: the Hessian of each group of matrices, and that of all experts together.
#pragma once
#include <optional>
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

  // From now on the inputs of these groups, and of `router` [.., router_cols] (empty: of none).
  Status watch(std::span<const InputGroup> groups, const std::string& router, int64_t router_cols);
  void begin_sequence();
  void stop();  // frees what was collected

  // In the order of the groups. An expert's may have no rows; any other's is an error then.
  Result<std::vector<Hessian>> finish();
  // Of what the router read, which is what all experts do; nothing where it is not watched.
  Result<std::optional<Hessian>> finish_router();

  bool wants(std::string_view tensor) override;
  void observe(const MatrixInput& input) override;

 private:
  struct Slot {
    std::string tensor;
    int expert;  // -1: every token
    Hessian hessian;
    bool seen = false;  // in this sequence
  };
  ThreadPool& threads_;
  std::vector<Slot> slots_;
  std::string router_;
  std::optional<Hessian> router_hessian_;
};

}  // namespace lm
