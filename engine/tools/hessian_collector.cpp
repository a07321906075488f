#include "engine/tools/hessian_collector.h"

#include <algorithm>
#include <utility>

namespace lm {

Status HessianCollector::watch(std::span<const InputGroup> groups, const std::string& router,
                               int64_t router_cols) {
  stop();
  for (const InputGroup& group : groups) {
    slots_.push_back({group.watched, group.expert, LM_TRY(Hessian::create(group.n_cols))});
  }
  router_ = router;
  if (!router.empty()) router_hessian_ = LM_TRY(Hessian::create(router_cols));
  return ok();
}

void HessianCollector::stop() {
  slots_.clear();
  router_.clear();
  router_hessian_.reset();
}

void HessianCollector::begin_sequence() {
  for (Slot& slot : slots_) slot.seen = false;
}

bool HessianCollector::wants(std::string_view tensor) {
  return tensor == router_ ||
         std::ranges::any_of(slots_, [&](const Slot& slot) { return slot.tensor == tensor; });
}

void HessianCollector::observe(const MatrixInput& input) {
  if (input.tensor == router_) return router_hessian_->add(input.rows, input.n, threads_);
  const auto slot = std::ranges::find_if(slots_, [&](const Slot& at) {
    return at.tensor == input.tensor && (at.expert < 0 || at.expert == input.expert);
  });
  // An expert of another batch, or a part of a tensor whose input was seen.
  if (slot == slots_.end() || std::exchange(slot->seen, true)) return;
  slot->hessian.add(input.rows, input.n, threads_);
}

Result<std::optional<Hessian>> HessianCollector::finish_router() {
  if (router_hessian_) {
    Status status = router_hessian_->finish();
    if (!status.ok()) return std::move(status).error().within(router_);
  }
  return std::exchange(router_hessian_, std::nullopt);
}

Result<std::vector<Hessian>> HessianCollector::finish() {
  std::vector<Hessian> hessians;
  for (Slot& slot : slots_) {
    const bool unreached = slot.expert >= 0 && slot.hessian.n_rows() == 0;
    if (!unreached) {
      Status status = slot.hessian.finish();
      if (!status.ok()) return std::move(status).error().within(slot.tensor);
    }
    hessians.push_back(std::move(slot.hessian));
  }
  return hessians;
}

}  // namespace lm
