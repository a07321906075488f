// engine/cli/generation_options.h — the options of everything that answers: one prompt of a script
// and the terminal chat take the same ones.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/cli/cache_options.h"
#include "engine/cli/draft_options.h"
#include "engine/cli/grammar_options.h"
#include "engine/cli/model_options.h"
#include "engine/cli/options.h"
#include "engine/cli/sampling_options.h"

namespace lm::cli {

// What happens to the reasoning of models that write theirs before the answer.
enum class Think {
  automatic,  // shown on a terminal, left out where the answer goes into a pipe
  on,         // asked for, and shown
  off,        // not asked for, where the model's template can say so
  hide,       // left to the model, and not shown
};
Result<Think> think_from_name(std::string_view name);  // on, off, hide
std::string_view think_name(Think think);

struct GenerationOptions {
  ModelOptions model;
  SamplingOptions sampling;
  CacheOptions cache;
  GrammarOptions grammar;
  DraftOptions draft;
  std::optional<std::string> system, chat_template, tools;
  std::vector<std::string> stop;
  Think think = Think::automatic;
  int max_tokens = -1;
  Overflow overflow = Overflow::stop;
  bool raw = false, special = false, ignore_end = false;
  bool quiet = false;  // no warnings

  void declare_prompt(Options& options);  // into the caller's group
  void declare(Options& options);         // all the rest, but the caller's own flags: quiet
  // What can be known before a model is loaded. Also reads the grammar.
  Status check();

 private:
  void declare_answer(Options& options);
};

}  // namespace lm::cli
