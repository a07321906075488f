#include "engine/runtime/placement_plan.h"

#include <algorithm>
#include <utility>

#include "engine/core/text.h"
#include "engine/text/name_pattern.h"

namespace lm {
namespace {

using Kind = PartId::Kind;

struct CompiledRule {
  NamePattern pattern;
  int room;
  bool used = false;  // something is called like that
};

// "cuda" is the first of "cuda:0", "cuda:1".
bool names(std::string_view word, std::string_view device) {
  return word == device ||
         (device.starts_with(word) && device.substr(word.size()).starts_with(':'));
}

Result<CompiledRule> compile(const PlaceRule& rule, std::span<const DeviceOffer> devices) {
  std::string known;
  for (size_t i = 0; i < devices.size(); ++i) {
    if (names(rule.device, devices[i].name)) {
      return CompiledRule{LM_TRY(NamePattern::compile(rule.pattern)), int(i)};
    }
    known += concat(i > 0 ? " or " : "", devices[i].name);
  }
  return Error{ErrorCode::bad_request, concat("expected to place \"", printable(rule.pattern),
                                              "\" on ", known, ", found ", printable(rule.device))};
}

}  // namespace

// On each device; the output matrix once more where it is the embedding.
void PlacementPlan::count(const WeightList& list) {
  const Placement order(config_->layers.size());
  for (Part& part : parts_) part.bytes.assign(devices_.size(), 0);
  for (const ListedWeight& weight : list.weights) {
    Part& part = parts_[order.index(weight.part)];
    for (size_t i = 0; i < devices_.size(); ++i) {
      const auto ask = devices_[i].weight_bytes;
      part.bytes[i] += ask != nullptr ? ask(weight.shape) : weight.file_bytes;
    }
  }
  if (list.tied) tied_bytes_ = list.weights.back().file_bytes;
}

Result<PlacementPlan> PlacementPlan::make(const gguf::File& file, const ModelConfig& config,
                                          std::span<const DeviceOffer> devices,
                                          std::span<const PlaceRule> rules) {
  std::vector<CompiledRule> compiled;
  for (const PlaceRule& rule : rules) compiled.push_back(LM_TRY(compile(rule, devices)));
  PlacementPlan plan(config, devices);
  const Placement order(config.layers.size());
  plan.parts_.resize(order.n_parts());
  const WeightList list = LM_TRY(list_weights(file, config));
  plan.count(list);
  std::vector<std::optional<size_t>> decided_by(order.n_parts());
  const auto apply_rules = [&](size_t part, std::string_view tensor) {
    for (size_t r = 0; r < compiled.size(); ++r) {
      if (!compiled[r].pattern.occurs_in(tensor)) continue;
      compiled[r].used = true;
      decided_by[part] = std::max(decided_by[part].value_or(r), r);
    }
  };
  for (const gguf::TensorInfo& tensor : file.tensors()) {
    const std::optional<PartId> id = part_of(tensor.name);
    if (!id || size_t(id->layer) >= order.n_layers()) continue;
    plan.parts_[order.index(*id)].is_empty = false;
    apply_rules(order.index(*id), tensor.name);
  }
  if (list.tied) apply_rules(order.n_parts() - 1, "output.weight");  // as it would be called
  for (size_t r = 0; r < compiled.size(); ++r) {
    if (!compiled[r].used) plan.unused_rules_.push_back(rules[r].pattern);
  }
  for (size_t i = 0; i < plan.parts_.size(); ++i) {
    if (decided_by[i]) plan.parts_[i].room = compiled[*decided_by[i]].room;
  }
  return plan;
}

Placement PlacementPlan::with_device_layers(size_t n) const {
  const size_t n_layers = config_->layers.size();
  Placement placement(n_layers);
  const int host = int(devices_.size()) - 1;
  for (size_t i = 0; i < parts_.size(); ++i) {
    const PartId id = placement.part(i);
    const bool of_layer = id.kind != Kind::embedding && id.kind != Kind::output;
    const bool on_device = of_layer ? size_t(id.layer) + n >= n_layers : n > n_layers;
    const bool follows = id.kind == Kind::experts && parts_[i].is_empty;  // there are none
    placement.put(id, follows ? placement.ffn(size_t(id.layer))
                              : parts_[i].room.value_or(on_device ? 0 : host));
  }
  return placement;
}

uint64_t PlacementPlan::weight_bytes(const Placement& placement, int room) const {
  const DeviceOffer& device = devices_[size_t(room)];
  // No overflow: each tensor lies inside the file.
  uint64_t total = device.weight_bytes != nullptr ? rope_table_bytes(*config_, placement, room) : 0;
  for (size_t i = 0; i < parts_.size(); ++i) {
    if (placement.room(placement.part(i)) == room) total += parts_[i].bytes[size_t(room)];
  }
  // A processor reads rows in the file, so that one copy serves as both.
  const bool both_here = placement.embedding() == room && placement.output() == room;
  if (device.is_host && both_here) total -= tied_bytes_;
  return total;
}

}  // namespace lm
