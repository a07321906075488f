#include "engine/runtime/model_plan.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include "engine/core/checked.h"
#include "engine/core/machine.h"
#include "engine/core/text.h"
#include "engine/model/activation_memory.h"
#include "engine/runtime/step_logits.h"

namespace lm {
namespace {

// A device that has no room for a shorter context than this beside the whole model gets a part.
constexpr int kLeastContext = 4096;

// Of a device, for what can't be known before: the code of kernels, recorded steps, what the driver
// rounds allocations up to, and other programs. An estimate: it has not been measured.
uint64_t reserved_bytes(uint64_t memory) {
  return std::min(memory / 32, uint64_t{512} << 20);
}

KvLayout kv_layout(const ModelConfig& config, const InstanceOptions& options) {
  KvLayout layout;
  layout.block_size = options.block_size;
  layout.dtype = options.kv_dtype;
  for (const LayerSpec& layer : config.layers) {
    layout.layers.push_back({.n_kv_heads = layer.attn.n_kv_heads,
                             .head_dim = layer.attn.head_dim,
                             .windowed = layer.attn.window > 0});
  }
  return layout;
}

// Without the weights; of all layers, or of those of a layout that has fewer.
Result<MemoryNeeds> needs_of(const ModelConfig& config, const KvLayout& layout) {
  LM_TRY(validate(layout));
  const std::optional<KvBlockBytes> bytes = kv_block_bytes(layout);
  if (!bytes) {
    return Error{ErrorCode::out_of_memory, "a KV block of this model is larger than any memory"};
  }
  int window = 0;
  for (const LayerSpec& layer : config.layers) window = std::max(window, layer.attn.window);
  return MemoryNeeds{.block_bytes = bytes->block, .page_bytes = bytes->page, .window = window};
}

// Room for both models. A draft model plans for its windows itself, in as many bytes as it would
// have without them.
Result<MemoryNeeds> with(const MemoryNeeds& needs, const MemoryNeeds& beside) {
  const auto weights = checked_add(needs.weight_bytes, beside.weight_bytes);
  std::optional<uint64_t> block = checked_add(beside.block_bytes, beside.page_bytes);
  if (block) block = checked_add(*block, needs.block_bytes);
  if (!weights || !block || !checked_add(*block, needs.page_bytes)) {
    return Error{ErrorCode::out_of_memory, "two models that are larger than any memory"};
  }
  return MemoryNeeds{.weight_bytes = *weights,
                     .block_bytes = *block,
                     .page_bytes = needs.page_bytes,
                     .window = needs.window};
}

MemoryWish wish_of(const InstanceOptions& options, const ModelConfig& config,
                   const MemoryNeeds& needs) {
  return {.n_ctx = options.n_ctx,
          .n_ctx_train = config.n_ctx_train,
          .max_seqs = options.max_seqs,
          .kv_budget = options.kv_budget,
          .block_size = options.block_size,
          .block_bytes = needs.block_bytes,
          .page_bytes = needs.page_bytes,
          .window = needs.window,
          .step_tokens = std::max(options.max_step_tokens, options.max_seqs),
          .weight_bytes = needs.weight_bytes};
}

// What blocks and pages take; nullopt: more than any memory.
std::optional<uint64_t> kv_bytes_of(const MemoryNeeds& needs, int n_blocks, int n_pages) {
  const auto blocks = checked_mul(uint64_t(n_blocks), needs.block_bytes);
  const auto pages = checked_mul(uint64_t(n_pages), needs.page_bytes);
  return blocks && pages ? checked_add(*blocks, *pages) : std::nullopt;
}

StepShape shape_of(const InstanceOptions& options, int n_ctx, bool windows) {
  const int block_size = options.block_size;
  return {.max_tokens = std::max(options.max_step_tokens, options.max_seqs) + options.draft_rows,
          .max_seqs = options.max_seqs,
          .max_logits = options.draft_rows +
                        (options.max_step_logits > 0 ? options.max_step_logits : options.max_seqs),
          .max_blocks = n_ctx / block_size + (n_ctx % block_size != 0 ? 1 : 0),
          .block_size = block_size,
          .windows = windows};
}

bool has_orders(const gguf::File& file) {
  return std::ranges::any_of(file.tensors(), [](const gguf::TensorInfo& tensor) {
    return tensor.name.ends_with(".perm");
  });
}

ActivationMemory::Size size_of(const StepShape& shape) {
  return {
      .max_tokens = shape.max_tokens, .max_seqs = shape.max_seqs, .max_logits = shape.max_logits};
}

// Inputs, activations and logits of a room.
uint64_t step_bytes(const ModelConfig& config, bool orders, const Placement& placement, int room,
                    const StepShape& shape, bool is_host) {
  uint64_t bytes = StepInputs::bytes(shape).value_or(0) +
                   ActivationMemory::bytes(config, orders, placement, room, size_of(shape));
  if (placement.output() == room) {
    bytes += StepLogits::bytes(shape.max_logits, config.n_vocab, is_host);
  }
  return bytes;
}

// Of a model that is the device's alone.
uint64_t weight_bytes_of(const MemoryNeeds& needs, const DeviceOffer& device) {
  if (device.is_host) return needs.weight_bytes;
  if (device.weight_bytes == nullptr) return needs.weight_bytes + needs.tied_bytes;
  uint64_t bytes = 0;
  for (const WeightShape& weight : needs.weights) bytes += device.weight_bytes(weight);
  return bytes;
}

class Planner {
 public:
  Planner(const gguf::File& file, const ModelConfig& config, std::span<const DeviceOffer> devices,
          const InstanceOptions& options, KvLayout layout, const MemoryNeeds& all,
          PlacementPlan parts)
      : config_(config),
        devices_(devices),
        options_(options),
        layout_(std::move(layout)),
        all_(all),
        parts_(std::move(parts)),
        has_orders_(has_orders(file)) {}

  Result<ModelPlan> plan() const;

 private:
  // A room in the making.
  struct Room {
    int number;  // in devices_
    MemoryNeeds needs{};
    RoomPlan plan{};
  };
  Result<ModelPlan> plan_layers(size_t device_layers) const;
  Result<Room> room_of(const Placement& placement, int number, bool is_first) const;
  Result<MemoryPlan> plan_memory_of(const Room& room) const;
  void count_step(Room& room, const Placement& placement, const StepShape& shape,
                  bool is_first) const;
  void finish(ModelPlan& plan, std::vector<Room>& rooms, const Placement& placement) const;

  const ModelConfig& config_;
  std::span<const DeviceOffer> devices_;
  const InstanceOptions& options_;
  KvLayout layout_;
  MemoryNeeds all_;  // of both models' KV caches
  PlacementPlan parts_;
  bool has_orders_;
};

Result<ModelPlan> Planner::plan() const {
  const size_t everything = config_.layers.size() + 1;
  if (devices_.size() == 1) return plan_layers(everything);
  if (options_.device_layers != kLayersThatFit) {
    return plan_layers(std::min(size_t(options_.device_layers), everything));
  }
  // What the options allow where memory is no limit: a small KV budget moves no layer.
  MemoryWish unbounded = wish_of(options_, config_, all_);
  unbounded.weight_bytes = 0;
  unbounded.memory_bytes = std::numeric_limits<uint64_t>::max();
  const int wanted = LM_TRY(plan_memory(unbounded)).n_ctx;
  for (size_t n = everything; n > 0; --n) {
    Result<ModelPlan> plan = plan_layers(n);
    if (plan.ok() && plan.value().n_ctx >= std::min(wanted, kLeastContext)) return plan;
  }
  return plan_layers(options_.device == "auto" ? 0 : 1);  // who names a device means it
}

Result<Planner::Room> Planner::room_of(const Placement& placement, int number,
                                       bool is_first) const {
  KvLayout layout = layout_;
  layout.layers.clear();
  for (size_t i = 0; i < config_.layers.size(); ++i) {
    if (placement.attention(i) == number) layout.layers.push_back(layout_.layers[i]);
  }
  MemoryNeeds needs = LM_TRY(needs_of(config_, layout));
  needs.weight_bytes = parts_.weight_bytes(placement, number);
  const DeviceOffer& device = devices_[size_t(number)];
  if (is_first) {  // where a draft model is too
    MemoryNeeds draft = options_.beside;
    draft.weight_bytes = weight_bytes_of(draft, device);
    needs = LM_TRY(with(needs, draft));
  }
  Room room{number, needs,
            RoomPlan{.device = device.name,
                     .memory_bytes = device.memory_bytes,
                     .weight_bytes = needs.weight_bytes,
                     .reserved_bytes = device.is_host ? 0 : reserved_bytes(device.memory_bytes)}};
  const int n_ctx = options_.n_ctx > 0 ? options_.n_ctx : config_.n_ctx_train;
  count_step(room, placement, shape_of(options_, n_ctx, all_.window > 0), is_first);
  return room;
}

void Planner::count_step(Room& room, const Placement& placement, const StepShape& shape,
                         bool is_first) const {
  const DeviceOffer& device = devices_[size_t(room.number)];
  room.plan.step_bytes =
      step_bytes(config_, has_orders_, placement, room.number, shape, device.is_host);
  if (device.scratch_bytes != nullptr) {
    room.plan.scratch_bytes = device.scratch_bytes(
        ActivationMemory::limits(config_, placement, room.number, size_of(shape)));
  }
  const MemoryNeeds& draft = options_.beside;
  if (!is_first || draft.limits.max_tokens == 0) return;
  room.plan.step_bytes += draft.step_bytes;
  if (device.scratch_bytes != nullptr) {
    room.plan.scratch_bytes += device.scratch_bytes(draft.limits);
  }
}

// On a processor only what is touched takes memory, and there is some to spare: nothing is taken
// off for a step.
Result<MemoryPlan> Planner::plan_memory_of(const Room& room) const {
  const DeviceOffer& device = devices_[size_t(room.number)];
  MemoryWish wish = wish_of(options_, config_, room.needs);
  wish.weights_may_stay = device.is_host;
  wish.memory_bytes = device.memory_bytes;
  if (!device.is_host) {
    const uint64_t kept = room.plan.step_bytes + room.plan.scratch_bytes + room.plan.reserved_bytes;
    wish.memory_bytes -= std::min(kept, wish.memory_bytes);
  }
  // Exact: a budget of so many blocks is as many in every room.
  const uint64_t all = all_.block_bytes + all_.page_bytes;
  const uint64_t here = room.needs.block_bytes + room.needs.page_bytes;
  if (here < all && options_.kv_budget > 0 && here > 0) {
    const uint64_t share = options_.kv_budget / all * here + options_.kv_budget % all * here / all;
    wish.kv_budget = std::max<uint64_t>(1, share);
  } else if (here == 0) {
    wish.kv_budget = 0;
  }
  Result<MemoryPlan> plan = plan_memory(wish);
  if (plan.ok() || devices_.size() == 1) return plan;
  return std::move(plan).error().within(device.name);
}

Result<ModelPlan> Planner::plan_layers(size_t device_layers) const {
  const Placement placement = parts_.with_device_layers(device_layers);
  ModelPlan plan;
  plan.placement = Placement(config_.layers.size());
  plan.device = devices_.front().name;
  plan.device_layers = device_layers;
  plan.has_draft = options_.beside.weight_bytes > 0;
  plan.unused_rules = parts_.unused_rules();
  std::vector<Room> rooms;
  bool has_pages = false;
  for (int number = 0; number < int(devices_.size()); ++number) {
    if (!placement.uses(number)) continue;
    Room room = LM_TRY(room_of(placement, number, rooms.empty()));
    const MemoryPlan memory = LM_TRY(plan_memory_of(room));
    room.plan.weights_stay = memory.weights_stay;
    plan.n_ctx = rooms.empty() ? memory.n_ctx : std::min(plan.n_ctx, memory.n_ctx);
    plan.n_blocks = rooms.empty() ? memory.n_blocks : std::min(plan.n_blocks, memory.n_blocks);
    if (room.needs.page_bytes > 0) {
      plan.n_pages = has_pages ? std::min(plan.n_pages, memory.n_pages) : memory.n_pages;
      has_pages = true;
    }
    rooms.push_back(std::move(room));
  }
  finish(plan, rooms, placement);
  return plan;
}

// What depends on the context that all rooms have memory for.
void Planner::finish(ModelPlan& plan, std::vector<Room>& rooms, const Placement& placement) const {
  plan.kv = layout_;
  plan.window = all_.window;
  plan.shape = shape_of(options_, plan.n_ctx, all_.window > 0);
  const int64_t shared = int64_t(plan.shape.max_blocks) * options_.max_seqs;
  plan.n_blocks = int(std::min<int64_t>(plan.n_blocks, shared));
  plan.n_pages = std::min(plan.n_pages, plan.n_blocks);
  for (Room& room : rooms) {
    room.plan.kv_bytes = kv_bytes_of(room.needs, plan.n_blocks, plan.n_pages).value_or(0);
    count_step(room, placement, plan.shape, plan.rooms.empty());
    for (size_t i = 0; i < placement.n_parts(); ++i) {
      const PartId part = placement.part(i);
      if (placement.room(part) == room.number) plan.placement.put(part, int(plan.rooms.size()));
    }
    plan.rooms.push_back(std::move(room.plan));
  }
}

}  // namespace

bool ModelPlan::weights_stay() const {
  return std::ranges::any_of(rooms, &RoomPlan::weights_stay);
}

Result<std::vector<DeviceOffer>> offers_of(const Registry& registry, std::string_view device) {
  const auto offer_of = [](const FoundDevice& found) {
    const bool is_host = found.entry->kind == "cpu";
    // A processor's memory is counted by the machine, as the container limits it.
    return DeviceOffer{found.info.name, is_host ? available_memory() : found.info.memory_bytes,
                       is_host, found.entry->scratch_bytes, found.entry->weight_bytes};
  };
  std::vector<DeviceOffer> offers{offer_of(LM_TRY(registry.find(device)))};
  if (offers.front().is_host) return offers;
  const Result<FoundDevice> host = registry.find("cpu");
  if (host.ok()) offers.push_back(offer_of(host.value()));
  return offers;
}

Result<ModelPlan> plan_model(const gguf::File& file, const ModelConfig& config,
                             std::span<const DeviceOffer> devices, const InstanceOptions& options) {
  LM_TRY(check_options(options));
  KvLayout layout = kv_layout(config, options);
  const MemoryNeeds all = LM_TRY(with(LM_TRY(needs_of(config, layout)), options.beside));
  PlacementPlan parts = LM_TRY(PlacementPlan::make(file, config, devices, options.place));
  return Planner(file, config, devices, options, std::move(layout), all, std::move(parts)).plan();
}

Result<MemoryNeeds> memory_needs(const gguf::File& file, const ModelConfig& config,
                                 const InstanceOptions& options) {
  MemoryNeeds needs = LM_TRY(needs_of(config, kv_layout(config, options)));
  const Placement alone(config.layers.size());
  const WeightList list = LM_TRY(list_weights(file, config));
  for (const ListedWeight& weight : list.weights) {
    needs.weight_bytes += weight.file_bytes;
    needs.weights.push_back(weight.shape);
  }
  if (list.tied) {
    needs.tied_bytes = list.weights.back().file_bytes;
    needs.weight_bytes -= needs.tied_bytes;
  }
  const int64_t table_numbers = int64_t(rope_table_bytes(config, alone, 0) / sizeof(float));
  needs.weights.push_back({DType::f32, {1, 1, 1, table_numbers}, WeightUse::vector});
  const StepShape shape =
      shape_of(options, options.n_ctx > 0 ? options.n_ctx : config.n_ctx_train, needs.window > 0);
  // As where the host can't read it, which is more.
  needs.step_bytes = step_bytes(config, has_orders(file), alone, 0, shape, false);
  needs.limits = ActivationMemory::limits(config, alone, 0, size_of(shape));
  return needs;
}

Result<uint64_t> plan_kv_bytes(const ModelConfig& config, const InstanceOptions& options) {
  LM_TRY(check_options(options));
  const MemoryNeeds needs = LM_TRY(needs_of(config, kv_layout(config, options)));
  MemoryWish wish = wish_of(options, config, needs);
  wish.memory_bytes = std::numeric_limits<uint64_t>::max();
  const MemoryPlan plan = LM_TRY(plan_memory(wish));
  const std::optional<uint64_t> bytes = kv_bytes_of(needs, plan.n_blocks, plan.n_pages);
  if (bytes) return *bytes;
  return Error{ErrorCode::out_of_memory, "a KV cache that is larger than any memory"};
}

}  // namespace lm
