#include "engine/cli/draft_options.h"

#include <utility>

#include "engine/cli/model_options.h"
#include "engine/cli/terminal.h"
#include "engine/core/machine.h"
#include "engine/core/text.h"
#include "engine/core/thread_pool.h"
#include "engine/runtime/draft_policy.h"
#include "engine/runtime/model_drafter.h"

namespace lm::cli {

void DraftOptions::declare(Options& options) {
  options.value(
      "--draft", "FILE|ngram|off",
      [this](std::string_view word) -> Status {
        if (word.empty()) {
          return Error{ErrorCode::bad_request, "expected ngram, off or a model, found nothing"};
        }
        source = word;
        return ok();
      },
      "what guesses tokens in advance, which changes speed and nothing else: a smaller model with "
      "the same vocabulary, the text itself, or nothing (default: ngram)");
}

std::string draft_text(const OpenedModel& opened) {
  return opened.draft_bytes > 0 ? concat(", draft model ", human_bytes(opened.draft_bytes)) : "";
}

Result<OpenedModel> open_model(const Context& context, InstanceOptions options,
                               const DraftOptions& draft, bool show_progress) {
  OpenedModel opened;
  if (draft.source != "off") options.draft_rows = kMaxDraft;
  if (draft.source == "off" || draft.source == "ngram") {
    opened.instance = LM_TRY(open_instance(context, std::move(options), show_progress));
    if (draft.source == "ngram") opened.speculation.drafter = make_ngram_drafter();
    return opened;
  }
  const int n_threads = options.backend.n_threads > 0 ? options.backend.n_threads : usable_cores();
  options.backend.threads = std::make_shared<ThreadPool>(n_threads);
  InstanceOptions drafting = options;
  drafting.model_path = draft.source;
  drafting.draft_rows = 0;
  options.beside = LM_TRY(Instance::needs(drafting));
  const uint64_t weight_bytes = options.beside.weight_bytes;
  drafting.kv_budget = options.beside.block_bytes + options.beside.page_bytes;
  opened.instance = LM_TRY(open_instance(context, std::move(options), show_progress));
  drafting.n_ctx = opened.instance->n_ctx();
  drafting.kv_budget *= uint64_t(opened.instance->pool().n_blocks());
  std::unique_ptr<Instance> drafter = LM_TRY(open_instance(context, drafting, show_progress));
  opened.draft_bytes = weight_bytes + drafter->kv_bytes();
  opened.speculation.drafter = LM_TRY(make_model_drafter(std::move(drafter), *opened.instance));
  return opened;
}

}  // namespace lm::cli
