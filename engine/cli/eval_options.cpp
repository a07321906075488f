#include "engine/cli/eval_options.h"

#include "engine/cli/terminal.h"
#include "engine/core/file.h"

namespace lm::cli {
namespace {

constexpr int kMaxWindows = 1 << 24;
constexpr uint64_t kMaxTextBytes = uint64_t{1} << 30;

}  // namespace

void EvalCommandOptions::declare(Options& options) {
  model.model.declare(options);
  options.text("-f,--file", "FILE", text, "the text; - is stdin");
  options.integer("--ctx", "N", n_ctx, 4, kMaxContext, "tokens of a window (default: 512)");
  options.integer("--windows", "N", max_windows, 1, kMaxWindows, "at most so many windows");
  model.declare_machine(options);
}

Result<std::string> EvalCommandOptions::read_text() const {
  if (!text || text->empty()) {
    return Error{ErrorCode::bad_request, "expected -f FILE, found the end of the command line"};
  }
  return read_file(*text == "-" ? "/dev/stdin" : *text, kMaxTextBytes);
}

std::string EvalCommandOptions::text_name() const {
  return text.value_or("");
}

Result<InstanceOptions> EvalCommandOptions::instance_options() const {
  InstanceOptions options = LM_TRY(model.instance_options());
  prepare_for_eval(n_ctx, options);
  return options;
}

Result<EvalReport> EvalCommandOptions::run(const Context& context, Instance& instance,
                                           Instance* base, const std::string& words,
                                           std::string_view doing) const {
  const Tokenizer& tokenizer = *instance.tokenizer();
  const std::vector<TokenId> ids = eval_tokens(tokenizer, words);
  context.signals.hold();
  ProgressBar bar(doing, text_name(), !quiet);
  return evaluate(instance, base, ids, tokenizer.add_bos() ? tokenizer.bos() : -1,
                  {.n_ctx = n_ctx,
                   .max_windows = max_windows,
                   .n_threads = model.n_threads,
                   .progress = [&bar](uint64_t n, uint64_t total) { bar.update(n, total); },
                   .stop = [] { return pending_signal() != 0; }});
}

}  // namespace lm::cli
