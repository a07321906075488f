// engine/runtime/placement_plan.h — from what a person asks for to a Placement: the last layers on
// the device, the others on the CPU, and exceptions by the names of tensors. Nothing is loaded.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backends/backend.h"
#include "engine/core/result.h"
#include "engine/model/config.h"
#include "engine/model/placement.h"
#include "engine/model/weights.h"
#include "engine/runtime/instance_options.h"
#include "gguf/file.h"

namespace lm {

// A device that may do some of a model's work. A room's number is its place in a list of them.
struct DeviceOffer {
  std::string name;  // "cuda:0"
  uint64_t memory_bytes = 0;
  bool is_host = false;
  uint64_t (*scratch_bytes)(const StepLimits& limits) = nullptr;  // see BackendEntry
  uint64_t (*weight_bytes)(const WeightShape& weight) = nullptr;
};

class PlacementPlan {
 public:
  // devices: the one that was asked for, then the CPU, where that is another. bad_request for a
  // rule that is none. The config outlives the plan.
  static Result<PlacementPlan> make(const gguf::File& file, const ModelConfig& config,
                                    std::span<const DeviceOffer> devices,
                                    std::span<const PlaceRule> rules);

  // See InstanceOptions::device_layers; at least 0.
  Placement with_device_layers(size_t n) const;
  // What a room holds: as the device says, byte for byte, or else as in the file.
  uint64_t weight_bytes(const Placement& placement, int room) const;
  // The expressions of rules that no tensor is called like.
  const std::vector<std::string>& unused_rules() const { return unused_rules_; }

 private:
  struct Part {
    std::vector<uint64_t> bytes;  // of its weights, on each device
    bool is_empty = true;
    std::optional<int> room{};  // by a rule
  };
  PlacementPlan(const ModelConfig& config, std::span<const DeviceOffer> devices)
      : config_(&config), devices_(devices.begin(), devices.end()) {}
  void count(const WeightList& list);

  const ModelConfig* config_;
  std::vector<DeviceOffer> devices_;
  std::vector<Part> parts_;  // in the order of a Placement
  std::vector<std::string> unused_rules_;
  uint64_t tied_bytes_ = 0;  // in the file, of the embedding, where it is the output matrix too
};

}  // namespace lm
