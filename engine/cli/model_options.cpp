#include "engine/cli/model_options.h"

#include <cstdlib>

#include "engine/cli/terminal.h"
#include "engine/core/text.h"

namespace lm::cli {
namespace {

constexpr int kMaxThreads = 1024;

// $LLM_CUDA_GRAPHS, $LLM_CUDA_OVERLAP, $LLM_CUDA_AHEAD, $LLM_CUDA_WGMMA: for who suspects recorded
// steps, kernels that begin early, steps that run ahead, or the products that only some devices
// have.
Result<bool> wanted(const char* name, bool otherwise) {
  const char* variable = std::getenv(name);
  if (variable == nullptr) return otherwise;
  const std::string_view word = variable;
  if (word == "on" || word == "off") return word == "on";
  return Error{ErrorCode::bad_request,
               concat("expected on or off in ", name, ", found \"", printable(word), "\"")};
}

// The CPU computes where something faster is present: that changes what the user gets.
void warn_slower_device(const Registry& registry, const Instance& instance) {
  if (instance.backend().name() != "cpu") return;
  for (const BackendEntry& entry : registry.entries()) {
    for (const DeviceInfo& device : describe_all(entry)) {
      if (device.unavailable.empty() || !device.present) continue;
      warn(concat("the CPU computes: ", device.name, " can't be used: ", device.unavailable));
    }
  }
}

}  // namespace

void declare_kv_type(Options& options, DType& target) {
  options.value(
      "--kv", "f32|f16|q8_0",
      [&target](std::string_view word) -> Status {
        target = dtype_from_name(word).value_or(target);
        return ok();
      },
      concat("number format of the KV cache (default: ", dtype_name(target), ")"));
}

void ModelPath::declare(Options& options) {
  options.text("-m,--model", "FILE", path, "the model, a GGUF file (default: $LLM_MODEL)");
  options.setting();
}

Result<std::filesystem::path> ModelPath::resolve() const {
  if (path && !path->empty()) return std::filesystem::path(*path);
  return with_hint(
      Error{ErrorCode::bad_request, "expected a model, found none"},
      "-m FILE.gguf names one, and so do $LLM_MODEL and \"model\" in the configuration file");
}

void ModelOptions::declare(Options& options, Cache cache) {
  const auto setting = [&] {
    if (cache == Cache::setting) options.setting();
  };
  options.group("Model");
  model.declare(options);
  options.integer(
      "--ctx", "N", n_ctx, 1, kMaxContext,
      "tokens of context (default: the smaller of the trained length and what fits the memory)");
  setting();
  declare_kv_type(options, kv_dtype);
  setting();
  options.integer("--kv-budget", "MIB", kv_mebibytes, 1, 1 << 24,
                  "most memory for the KV cache (default: what --ctx needs, or half of what is "
                  "available)");
  setting();
  declare_machine(options);
}

void ModelOptions::declare_machine(Options& options) {
  device.declare(options, true);
  options.integer("-t,--threads", "N", n_threads, 1, kMaxThreads,
                  "threads (default: the physical cores that this process may use)");
  options.setting();
}

Result<InstanceOptions> ModelOptions::instance_options() const {
  InstanceOptions options;
  options.model_path = LM_TRY(model.resolve());
  device.apply(options);
  options.n_ctx = n_ctx;
  options.kv_dtype = kv_dtype;
  options.kv_budget = uint64_t(kv_mebibytes) << 20;
  options.backend.n_threads = n_threads;
  if (const char* isa = std::getenv("LLM_CPU")) options.backend.isa = isa;
  options.backend.record_steps = LM_TRY(wanted("LLM_CUDA_GRAPHS", options.backend.record_steps));
  options.backend.overlap_kernels =
      LM_TRY(wanted("LLM_CUDA_OVERLAP", options.backend.overlap_kernels));
  options.backend.run_ahead = LM_TRY(wanted("LLM_CUDA_AHEAD", options.backend.run_ahead));
  options.backend.wgmma = LM_TRY(wanted("LLM_CUDA_WGMMA", options.backend.wgmma));
  return options;
}

void warn_weights_in_file() {
  warn("the weights are larger than the available memory: they are read from the file, slowly");
}

Result<std::unique_ptr<Instance>> open_instance(const Context& context, InstanceOptions options,
                                                bool show_progress) {
  ProgressBar bar("loading", options.model_path.filename().native(), show_progress);
  options.load_progress = [&bar](uint64_t done, uint64_t total) { bar.update(done, total); };
  Result<std::unique_ptr<Instance>> instance = Instance::open(context.registry, options);
  if (instance.ok()) {
    if (show_progress && options.device == "auto")
      warn_slower_device(context.registry, *instance.value());
    if (show_progress && instance.value()->weights_in_file()) warn_weights_in_file();
    if (show_progress) warn_of_placement(instance.value()->plan(), options);
    return instance;
  }
  Error error = std::move(instance).error();
  if (error.code == ErrorCode::out_of_memory) {
    return with_hint(std::move(error),
                     options.device_layers > 0
                         ? "a smaller --ctx, --kv q8_0 or fewer --gpu-layers need less"
                         : "a smaller --ctx, or --kv q8_0, needs less");
  }
  return error;
}

}  // namespace lm::cli
