// engine/cli/generation_options.h — the options of everything that answers: one prompt of a script
// and the terminal chat take the same ones.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "engine/cli/cache_options.h"
#include "engine/cli/grammar_options.h"
#include "engine/cli/model_options.h"
#include "engine/cli/options.h"
#include "engine/cli/sampling_options.h"

namespace lm::cli {

struct GenerationOptions {
  ModelOptions model;
  SamplingOptions sampling;
  CacheOptions cache;
  GrammarOptions grammar;
  std::optional<std::string> system, chat_template;
  std::vector<std::string> stop;
  int max_tokens = -1;
  Overflow overflow = Overflow::stop;
  bool raw = false, special = false, ignore_end = false;
  bool quiet = false;  // no warnings

  void declare_prompt(Options& options);  // into the caller's group
  void declare_answer(Options& options);
  // What can be known before a model is loaded. Also reads the grammar.
  Status check();
};

}  // namespace lm::cli
