// llm inspect — what a GGUF file holds, and what it needs. Written a piece at a time, so that a
// file made to be large in memory is not; nothing from the file reaches a terminal raw.
#include <limits>

#include "engine/cli/command.h"
#include "engine/cli/device_options.h"
#include "engine/cli/model_options.h"
#include "engine/cli/terminal.h"
#include "engine/core/text.h"
#include "engine/runtime/draft_policy.h"
#include "engine/runtime/instance.h"
#include "engine/tools/inspect.h"

namespace lm::cli {
namespace {

constexpr size_t kShownElements = 8;  // of an array, unless --full
constexpr size_t kShownBytes = 120;   // of a value, unless --full
constexpr size_t kNameColumn = 44;

std::string padded(std::string text, size_t width) {
  if (text.size() < width) text.resize(width, ' ');
  return text + " ";
}

std::string shape_text(const gguf::TensorInfo& tensor) {
  std::string text = "[";
  for (int i = 0; i < tensor.n_dims; ++i) text += concat(i > 0 ? ", " : "", tensor.dims[size_t(i)]);
  return text + "]";
}

std::string model_text(const ModelSummary& model) {
  const ModelConfig& config = model.config;
  return concat("model     ", printable(config.family), ": ", config.layers.size(),
                " layers, d_model ", config.d_model, ", vocabulary ", config.n_vocab,
                ", trained for ", config.n_ctx_train, " tokens\nmemory    ",
                human_bytes(model.total_bytes()), " for ", model.n_ctx, " tokens: weights ",
                human_bytes(model.weight_bytes), ", ", dtype_name(model.kv_dtype), " KV cache ",
                human_bytes(model.kv_bytes),
                model.draft ? concat(", draft model ", human_bytes(model.draft->weight_bytes),
                                     " with KV cache ", human_bytes(model.draft->kv_bytes))
                            : "",
                "; besides, working memory\n");
}

Json model_json(const Inspection& found) {
  if (!found.model) return {{"runnable", false}, {"reason", found.not_runnable}};
  const ModelConfig& config = found.model->config;
  return {{"runnable", true},
          {"family", config.family},
          {"n_layers", config.layers.size()},
          {"d_model", config.d_model},
          {"n_vocab", config.n_vocab},
          {"n_ctx_train", config.n_ctx_train}};
}

Json needs_json(const ModelSummary& model) {
  Json needs = {{"ctx", model.n_ctx},
                {"kv_type", dtype_name(model.kv_dtype)},
                {"weight_bytes", model.weight_bytes},
                {"kv_bytes", model.kv_bytes},
                {"total_bytes", model.total_bytes()}};
  if (model.draft) {
    needs["draft"] = {{"weight_bytes", model.draft->weight_bytes},
                      {"kv_bytes", model.draft->kv_bytes}};
  }
  return needs;
}

Json placement_json(const ModelPlan& plan) {
  Json list = Json::array();
  for (size_t room = 0; room < plan.rooms.size(); ++room) {
    const RoomPlan& r = plan.rooms[room];
    list.push_back({{"device", r.device},
                    {"parts", plan.placement.text(int(room))},
                    {"memory_bytes", r.memory_bytes},
                    {"weight_bytes", r.weight_bytes},
                    {"kv_bytes", r.kv_bytes},
                    {"step_bytes", r.step_bytes},
                    {"scratch_bytes", r.scratch_bytes},
                    {"reserved_bytes", r.reserved_bytes}});
  }
  return list;
}

class InspectCommand final : public Command {
 public:
  std::string_view name() const override { return "inspect"; }
  std::string_view summary() const override { return "what a model file holds, and what it needs"; }

  void declare(Options& options) override {
    options.word("FILE", file_, "a GGUF file; one part of a split file stands for all");
    options.integer("--ctx", "N", wanted_.n_ctx, 1, kMaxContext,
                    "tokens of context to count memory for (default: as trained)");
    declare_kv_type(options, wanted_.kv_dtype);
    options.text("--draft", "MODEL", draft_, "count the memory of this draft model too");
    options.group("What goes where (with any of these, the bytes on each device)");
    device_.declare(options, false);
    options.group("Output");
    options.flag("--full", full_, "arrays and texts whole");
    options.flag(
        "--json", json_,
        "one object: file, version, bytes, metadata, tensors (name, type, shape, bytes; the first "
        "dimension varies fastest), types, model, needs, placement (device, parts, memory_bytes, "
        "weight_bytes, kv_bytes, step_bytes, scratch_bytes of its kernels, reserved_bytes "
        "that stay free) or no_placement, the reason");
  }

  Result<ExitStatus> run(const Context& context) override {
    if (!file_)
      return Error{ErrorCode::bad_request, "expected FILE, found the end of the command line"};
    path_ = *file_;
    if (draft_) wanted_.draft = *draft_;
    const Inspection found = LM_TRY(inspect(path_, wanted_));
    if (device_.given() && found.model) LM_TRY(plan(context.registry, found));
    out_ = &context.out;
    json_ ? write_json(found) : write_text(found);
    return ExitStatus::ok;
  }

 private:
  // Models that there is no memory for, or that lack a tensor, can be looked at all the same.
  Status plan(const Registry& registry, const Inspection& found) {
    InstanceOptions options;
    device_.apply(options);
    options.n_ctx = wanted_.n_ctx;
    options.kv_dtype = wanted_.kv_dtype;
    const std::vector<DeviceOffer> devices = LM_TRY(offers_of(registry, options.device));
    Result<ModelPlan> made = plan_both(found, devices, options);
    if (made.ok()) {
      plan_ = std::move(made).value();
    } else if (made.error().code == ErrorCode::bad_request) {
      return std::move(made).error();
    } else {
      no_plan_ = made.error().message;
    }
    return ok();
  }

  // The draft model, if there is one, beside the model.
  Result<ModelPlan> plan_both(const Inspection& found, const std::vector<DeviceOffer>& devices,
                              InstanceOptions options) const {
    if (draft_) {
      InstanceOptions drafting = options;
      drafting.model_path = *draft_;
      drafting.n_ctx = found.model->n_ctx;
      options.beside = LM_TRY(Instance::needs(drafting));
    }
    options.draft_rows = kMaxDraft;  // as where nothing else is asked for
    return plan_model(found.file, found.model->config, devices, options);
  }

  std::string value_text(const gguf::Value& value) const {
    return printable(dump_json(metadata_json(value, max_elements())),
                     full_ ? std::numeric_limits<size_t>::max() : kShownBytes);
  }

  void write_text(const Inspection& found) {
    const gguf::File& file = found.file;
    write(concat(printable(path_, kShownBytes), ": GGUF v", file.version(), ", ",
                 human_bytes(file.file_bytes()), ", ", file.keys().size(), " keys, ",
                 file.tensors().size(), " tensors\n\n"));
    for (const std::string_view key : file.keys()) {
      write(padded(printable(key), kNameColumn) + value_text(*file.value(key)) + "\n");
    }
    write("\n");
    for (const gguf::TensorInfo& tensor : file.tensors()) {
      write(padded(printable(tensor.name), kNameColumn) +
            padded(std::string(dtype_name(tensor.dtype)), 8) + padded(shape_text(tensor), 22) +
            human_bytes(tensor.bytes.size()) + "\n");
    }
    if (!found.types.empty()) write("\n");
    for (const TypeTotal& total : found.types) {
      write(concat(padded(std::string(dtype_name(total.type)), 9), total.n_tensors, " tensors, ",
                   total.n_elements, " numbers, ", human_bytes(total.bytes), "\n"));
    }
    write(found.model
              ? model_text(*found.model)
              : concat("model     not runnable: ", printable(found.not_runnable, 1000), "\n"));
    if (!no_plan_.empty()) write(concat("placement none: ", printable(no_plan_, 1000), "\n"));
    if (!plan_) return;
    for (const std::string& line : plan_lines(*plan_)) {
      write(concat("placement ", line, ", for ", plan_->n_ctx, " tokens\n"));
    }
  }

  void write_json(const Inspection& found) {
    const gguf::File& file = found.file;
    write(concat("{\"file\": ", dump_json(path_), ", \"version\": ", file.version(),
                 ", \"alignment\": ", file.alignment(), ", \"bytes\": ", file.file_bytes(),
                 ",\n\"metadata\": {"));
    const char* separator = "\n";
    for (const std::string_view key : file.keys()) {
      write(concat(separator, dump_json(key), ": ",
                   dump_json(metadata_json(*file.value(key), max_elements()))));
      separator = ",\n";
    }
    write("},\n\"tensors\": [");
    separator = "\n";
    for (const gguf::TensorInfo& tensor : file.tensors()) {
      write(concat(separator, "{\"name\": ", dump_json(tensor.name), ", \"type\": \"",
                   dtype_name(tensor.dtype), "\", \"shape\": ", shape_text(tensor),
                   ", \"bytes\": ", tensor.bytes.size(), "}"));
      separator = ",\n";
    }
    Json types = Json::array();
    for (const TypeTotal& total : found.types) {
      types.push_back({{"type", dtype_name(total.type)},
                       {"tensors", total.n_tensors},
                       {"elements", total.n_elements},
                       {"bytes", total.bytes}});
    }
    write(concat("],\n\"types\": ", dump_json(types),
                 ",\n\"model\": ", dump_json(model_json(found)),
                 ",\n\"needs\": ", found.model ? dump_json(needs_json(*found.model)) : "null",
                 plan_ ? concat(",\n\"placement\": ", dump_json(placement_json(*plan_)))
                 : no_plan_.empty()
                     ? std::string()
                     : concat(",\n\"placement\": [], \"no_placement\": ", dump_json(no_plan_)),
                 "}\n"));
  }

  // Escapes of C1 control characters are optional in JSON: a terminal must not get them raw.
  void write(const std::string& text) {
    out_->write(json_ && out_->is_terminal() ? terminal_safe(text) : text);
  }

  size_t max_elements() const {
    return full_ ? std::numeric_limits<size_t>::max() : kShownElements;
  }

  std::optional<std::string> file_, draft_;
  std::string path_;
  InspectOptions wanted_;
  DeviceOptions device_;
  std::optional<ModelPlan> plan_;
  std::string no_plan_;  // why
  bool full_ = false, json_ = false;
  Output* out_ = nullptr;
};

}  // namespace

std::unique_ptr<Command> make_inspect_command() {
  return std::make_unique<InspectCommand>();
}

}  // namespace lm::cli
