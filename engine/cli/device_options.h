// engine/cli/device_options.h — what computes, and which parts of a model on which device; what is
// said of it on stderr.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "engine/cli/options.h"
#include "engine/runtime/instance_options.h"
#include "engine/runtime/model_plan.h"

namespace lm::cli {

struct DeviceOptions {
  std::optional<std::string> device;
  int device_layers = kLayersThatFit;
  std::vector<PlaceRule> place;

  // settings: may come from the environment and the configuration file too.
  void declare(Options& options, bool settings);
  void apply(InstanceOptions& options) const;
  bool given() const { return device || device_layers != kLayersThatFit || !place.empty(); }
};

// A line for each device: what is there, and the bytes of it.
std::vector<std::string> plan_lines(const ModelPlan& plan);

// Where there is less on the device than was asked for, or would be with more memory.
void warn_of_placement(const ModelPlan& plan, const InstanceOptions& options);

}  // namespace lm::cli
