#include "engine/cli/device_options.h"

#include "engine/cli/terminal.h"
#include "engine/core/text.h"

namespace lm::cli {
namespace {

constexpr int kMostLayers = 1 << 20;  // more than any model has: all of it

Result<PlaceRule> rule_of(std::string_view word) {
  const size_t at = word.rfind('=');
  if (at == std::string_view::npos || at == 0 || at + 1 == word.size()) {
    return Error{
        ErrorCode::bad_request,
        concat("expected a rule like \"ffn_.*_exps=cpu\", found \"", printable(word), "\"")};
  }
  return PlaceRule{std::string(word.substr(0, at)), std::string(word.substr(at + 1))};
}

}  // namespace

void DeviceOptions::declare(Options& options, bool settings) {
  const auto setting = [&] {
    if (settings) options.setting();
  };
  options.text("--device", "auto|NAME", device,
               "what computes: cpu, or another name that \"llm devices\" lists (default: auto, the "
               "best of them)");
  options.suggest({"cpu"});
  setting();
  options.value(
      "--gpu-layers", "auto|all|N",
      [this](std::string_view word) -> Status {
        device_layers = word == "auto"  ? kLayersThatFit
                        : word == "all" ? kMostLayers
                                        : int(LM_TRY(integer_in(word, 0, kMostLayers)));
        return ok();
      },
      "how many layers work on the device, counted from the last; the others work on the CPU. One "
      "more than the model has, or all: the embedding and the output too (default: auto, what fits "
      "its memory)");
  setting();
  options.each(
      "--place", "REGEX=NAME",
      [this](std::string_view word) -> Status {
        place.push_back(LM_TRY(rule_of(word)));
        return ok();
      },
      "a layer's attention, feed-forward or experts, the embedding or the output work on the "
      "device NAME when REGEX is found in one of their tensors' names: \"ffn_.*_exps=cpu\" leaves "
      "all experts to the CPU; repeatable, the last that is found counts");
  setting();
}

void DeviceOptions::apply(InstanceOptions& options) const {
  options.device = device.value_or("auto");
  options.device_layers = device_layers;
  options.place = place;
}

std::vector<std::string> plan_lines(const ModelPlan& plan) {
  std::vector<std::string> lines;
  for (size_t room = 0; room < plan.rooms.size(); ++room) {
    const RoomPlan& r = plan.rooms[room];
    const bool on_device = r.scratch_bytes > 0 || r.reserved_bytes > 0;
    lines.push_back(concat(printable(r.device), ": ", plan.placement.text(int(room)),
                           plan.has_draft && room == 0 ? ", the draft model" : "", "; weights ",
                           human_bytes(r.weight_bytes), r.weights_stay ? " (in the file)" : "",
                           ", KV cache ", human_bytes(r.kv_bytes), ", a step ",
                           human_bytes(r.step_bytes),
                           on_device ? concat(", its kernels ", human_bytes(r.scratch_bytes),
                                              ", kept free ", human_bytes(r.reserved_bytes))
                                     : "",
                           ", of ", human_bytes(r.memory_bytes), " available"));
  }
  return lines;
}

void warn_of_placement(const ModelPlan& plan, const InstanceOptions& options) {
  const size_t n_layers = plan.placement.n_layers();
  for (const std::string& rule : plan.unused_rules) {
    warn(concat("--place ", printable(rule), ": no tensor of this model is called like that"));
  }
  if (plan.device == "cpu") {
    if (options.device_layers > 0 || !options.place.empty()) {
      warn("the CPU computes alone: --gpu-layers and --place have nothing to place");
    }
  } else if (options.device_layers == kLayersThatFit && plan.device_layers <= n_layers) {
    warn(concat(printable(plan.device), " has memory for ",
                plan.device_layers == 0 ? std::string("none") : std::to_string(plan.device_layers),
                " of ", n_layers, " layers: the CPU computes the rest"));
  }
}

}  // namespace lm::cli
