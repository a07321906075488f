// engine/cli/model_options.h — the options of every command that loads a model, and loading it.
#pragma once
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "engine/cli/command.h"
#include "engine/cli/device_options.h"
#include "engine/core/result.h"
#include "engine/runtime/instance.h"
#include "quant/dtype.h"

namespace lm::cli {

inline constexpr int kMaxContext = 1 << 24;  // tokens

// --kv TYPE: f32, f16 or q8_0. Its value now is the default that --help names.
void declare_kv_type(Options& options, DType& target);

// -m FILE or $LLM_MODEL, on its own for the commands that only look at a file.
struct ModelPath {
  std::optional<std::string> path;

  void declare(Options& options);
  Result<std::filesystem::path> resolve() const;  // bad_request when no model was named
};

struct ModelOptions {
  ModelPath model;
  DeviceOptions device;
  int n_threads = 0;
  int n_ctx = 0;
  int kv_mebibytes = 0;
  DType kv_dtype = DType::f16;

  // What a cache for answers is like may be a setting; a measurement says it itself.
  enum class Cache { setting, per_call };
  void declare(Options& options, Cache cache);
  void declare_machine(Options& options);  // only what computes: the device, threads
  Result<InstanceOptions> instance_options() const;
};

void warn_weights_in_file();

// Opens the model, with a progress bar and a warning where they may be shown.
Result<std::unique_ptr<Instance>> open_instance(const Context& context, InstanceOptions options,
                                                bool show_progress);

}  // namespace lm::cli
