// engine/runtime/placement_plan.h — from what a person asks for to a Placement: the last layers on
// the device, the others on the CPU, and exceptions by the names of tensors. Looks only at a file's
// list of tensors.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backends/backend.h"
#include "engine/core/result.h"
#include "engine/model/placement.h"
#include "engine/runtime/instance_options.h"
#include "gguf/file.h"

namespace lm {

// A device that may do some of a model's work. A room's number is its place in a list of them.
struct DeviceOffer {
  std::string name;  // "cuda:0"
  uint64_t memory_bytes = 0;
  bool is_host = false;
  uint64_t (*scratch_bytes)(const StepLimits& limits) = nullptr;  // see BackendEntry
};

class PlacementPlan {
 public:
  // devices: the one that was asked for, then the CPU, where that is another. bad_request for a
  // rule that is none.
  static Result<PlacementPlan> make(const gguf::File& file, size_t n_layers,
                                    std::span<const DeviceOffer> devices,
                                    std::span<const PlaceRule> rules);

  // See InstanceOptions::device_layers; at least 0.
  Placement with_device_layers(size_t n) const;
  // What a room holds.
  uint64_t weight_bytes(const Placement& placement, int room) const;
  // The expressions of rules that no tensor is called like.
  const std::vector<std::string>& unused_rules() const { return unused_rules_; }

 private:
  struct Part {
    uint64_t bytes = 0;
    bool is_empty = true;
    std::optional<int> room{};  // by a rule
  };
  PlacementPlan(size_t n_layers, std::span<const DeviceOffer> devices)
      : n_layers_(n_layers), devices_(devices.begin(), devices.end()) {}

  size_t n_layers_;
  std::vector<DeviceOffer> devices_;
  std::vector<Part> parts_;  // in the order of a Placement
  std::vector<std::string> unused_rules_;
  uint64_t tied_bytes_ = 0;  // of the embedding, where it is the output matrix too
};

}  // namespace lm
