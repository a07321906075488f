// engine/cli/draft_options.h — --draft: who guesses tokens in advance, and opening a model together
// with the one that drafts for it.
#pragma once
#include <memory>
#include <string>

#include "engine/cli/command.h"
#include "engine/cli/options.h"
#include "engine/core/result.h"
#include "engine/runtime/drafter.h"
#include "engine/runtime/instance.h"

namespace lm::cli {

struct DraftOptions {
  std::string source = "ngram";  // "ngram", "off", or the path of a model

  void declare(Options& options);
};

// What Engine::start takes.
struct OpenedModel {
  std::unique_ptr<Instance> instance;
  SpeculationOptions speculation;
  uint64_t draft_bytes = 0;  // of memory, that a draft model takes: weights and KV cache
};

// ", draft model 1.2 GiB", or nothing where no model drafts.
std::string draft_text(const OpenedModel& opened);

// A draft model shares the model's device, threads and KV budget: both have room for the same
// tokens.
Result<OpenedModel> open_model(const Context& context, InstanceOptions options,
                               const DraftOptions& draft, bool show_progress);

}  // namespace lm::cli
