// engine/runtime/model_plan.h — where a model's parts will work, and what they take of each room's
// memory. Arithmetic on a file's metadata: nothing is loaded, no device is touched.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "backends/registry.h"
#include "engine/core/result.h"
#include "engine/kv/kv_cache.h"
#include "engine/model/config.h"
#include "engine/model/placement.h"
#include "engine/runtime/instance_options.h"
#include "engine/runtime/memory_plan.h"
#include "engine/runtime/placement_plan.h"
#include "engine/runtime/step_inputs.h"
#include "gguf/file.h"

namespace lm {

// The first room has what a draft model takes too.
struct RoomPlan {
  std::string device;
  uint64_t memory_bytes = 0;  // available before anything is loaded
  uint64_t weight_bytes = 0;
  uint64_t kv_bytes = 0;
  uint64_t step_bytes = 0;      // inputs, activations and logits of the largest step
  uint64_t scratch_bytes = 0;   // of a device: what its kernels take for themselves
  uint64_t reserved_bytes = 0;  // of a device: for what nobody can count
  bool weights_stay = false;    // in the file: they don't fit
};

struct ModelPlan {
  std::string device;           // that was asked for, whether it has work or not
  std::vector<RoomPlan> rooms;  // that have work
  Placement placement;
  size_t device_layers = 0;  // that the device was given, before the rules; see InstanceOptions
  bool has_draft = false;    // a draft model was counted
  KvLayout kv;
  int n_ctx = 0, n_blocks = 0, n_pages = 0;  // see MemoryPlan; the same in every room
  int window = 0;                            // tokens that the widest sees; 0: there are none
  StepShape shape;
  std::vector<std::string> unused_rules;  // expressions that no tensor is called like

  bool weights_stay() const;
};

// The device of this name, and the CPU where that is another one.
Result<std::vector<DeviceOffer>> offers_of(const Registry& registry, std::string_view device);

// Where as many layers as fit are asked for: all of the model if the device has room for it and for
// a context of some use, else as many of its last layers as can be; none only on a device that
// nobody named.
Result<ModelPlan> plan_model(const gguf::File& file, const ModelConfig& config,
                             std::span<const DeviceOffer> devices, const InstanceOptions& options);

// Of a whole model.
Result<MemoryNeeds> memory_needs(const gguf::File& file, const ModelConfig& config,
                                 const InstanceOptions& options);
// Bytes of the KV cache of max_seqs sequences of n_ctx tokens, both stated, where memory is no
// limit.
Result<uint64_t> plan_kv_bytes(const ModelConfig& config, const InstanceOptions& options);

}  // namespace lm
