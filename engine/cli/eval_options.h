// engine/cli/eval_options.h — the options of commands that run a model over a text in windows, and
// running it.
#pragma once
#include <optional>
#include <string>

#include "engine/cli/model_options.h"
#include "engine/tools/eval.h"

namespace lm::cli {

struct EvalCommandOptions {
  ModelOptions model;
  std::optional<std::string> text;  // a file; "-": stdin
  int n_ctx = 512, max_windows = 0;
  bool quiet = false;

  EvalCommandOptions() { model.kv_dtype = DType::f32; }

  void declare(Options& options);  // all but --quiet
  Result<std::string> read_text() const;
  std::string text_name() const;
  Result<InstanceOptions> instance_options() const;
  // With a progress bar; a signal ends it with an Error.
  Result<EvalReport> run(const Context& context, Instance& instance, Instance* base,
                         const std::string& words, std::string_view doing) const;
};

}  // namespace lm::cli
