// llm run — one prompt, one answer: what "llm -p TEXT" means.
#include <chrono>

#include "engine/cli/answer.h"
#include "engine/cli/asker.h"
#include "engine/cli/batch.h"
#include "engine/cli/chat.h"
#include "engine/cli/generate.h"
#include "engine/cli/generation_options.h"
#include "engine/cli/prompt.h"
#include "engine/cli/statistics.h"
#include "engine/cli/terminal.h"
#include "engine/core/text.h"
#include "engine/runtime/engine.h"

namespace lm::cli {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

class RunCommand final : public Command {
 public:
  std::string_view name() const override { return "run"; }
  std::string_view summary() const override { return "answer a prompt, on stdout"; }
  std::string_view table() const override { return is_chat() ? "chat" : name(); }
  void declare(Options& options) override;
  Result<ExitStatus> run(const Context& context) override;

 private:
  bool is_chat() const;
  void declare_prompt(Options& options);
  void declare_output(Options& options);
  Result<ExitStatus> answer_all(const Context& context);
  void describe(const OpenedModel& opened, uint64_t seed) const;
  Result<ExitStatus> answer(Engine& engine, Question question, AnswerHead head,
                            const Context& context) const;

  PromptSources prompt_;
  BatchOptions batch_;
  ChatOptions chat_;
  GenerationOptions generation_;
  bool json_ = false, jsonl_ = false, stats_ = false, verbose_ = false;
};

void RunCommand::declare(Options& options) {
  declare_prompt(options);
  batch_.declare(options);
  generation_.declare(options);
  chat_.declare(options);
  declare_output(options);
}

// There is nothing to answer, but somebody to ask.
bool RunCommand::is_chat() const {
  const bool asked = prompt_.text || prompt_.file || prompt_.no_stdin || json_ || jsonl_ ||
                     batch_.prompts || batch_.resume;
  return !asked && can_chat();
}

void RunCommand::declare_prompt(Options& options) {
  options.group("Prompt (of -p, -f and stdin, what there is, a blank line between)");
  options.text("-p,--prompt", "TEXT", prompt_.text, "the prompt; - reads it from stdin");
  options.text("-f,--file", "FILE", prompt_.file,
               "a file that holds the prompt; its last newline is left out");
  options.flag("--no-stdin", prompt_.no_stdin,
               "do not read stdin, which is read when it is a pipe or a file");
  generation_.declare_prompt(options);
}

void RunCommand::declare_output(Options& options) {
  options.group("Output");
  options.flag(
      "--json", json_,
      "one JSON object at the end: text, reasoning, tool_calls, finish (stop, length, cancelled, "
      "error), prompt_tokens, cached_tokens, dropped_tokens, generated_tokens, drafted_tokens, "
      "accepted_tokens, seed, model, load_seconds, queue_seconds, prompt_seconds, "
      "first_token_seconds, generate_seconds, seconds_per_token, read_gbps");
  options.flag(
      "--jsonl", jsonl_,
      "one JSON object a line: an event \"start\", \"token\" (text, id, logprob, drafted) for "
      "each, \"end\" (as --json)");
  options.flag("--stats", stats_, "timings on stderr after the answer");
  options.setting();
  options.flag("-q,--quiet", generation_.quiet, "no warnings, hints or progress on stderr");
  options.setting();
  options.flag("-v,--verbose", verbose_, "what was loaded, and how it runs, on stderr");
  options.setting();
}

void RunCommand::describe(const OpenedModel& opened, uint64_t seed) const {
  const Instance& instance = *opened.instance;
  const ModelConfig& config = instance.config();
  write_stderr(concat("llm: ", printable(generation_.model.model.path.value_or("")), ": ",
                      printable(config.family), ", ", config.layers.size(), " layers, d_model ",
                      config.d_model, ", vocabulary ", config.n_vocab, ", ",
                      human_bytes(instance.weight_bytes()), " read per token\n"));
  write_stderr(concat("llm: ", instance.backend().name(), " (", instance.backend().detail(),
                      "), context ", instance.n_ctx(), " of ", config.n_ctx_train,
                      " trained, KV cache ", dtype_name(instance.kv_dtype()), " ",
                      human_bytes(instance.kv_bytes()), draft_text(opened), ", seed ", seed, "\n"));
  for (const std::string& line : plan_lines(instance.plan()))
    write_stderr(concat("llm: ", line, "\n"));
}

// The conversation of one question.
Json messages_of(const std::optional<std::string>& system, const std::string& prompt) {
  Json messages = Json::array();
  if (system) messages.push_back(Json{{"role", "system"}, {"content", *system}});
  messages.push_back(Json{{"role", "user"}, {"content", prompt}});
  return messages;
}

Result<ExitStatus> RunCommand::run(const Context& context) {
  if (json_ && jsonl_) {
    return Error{ErrorCode::bad_request, "expected either --json or --jsonl, found both"};
  }
  if (batch_.prompts) return answer_all(context);
  if (batch_.resume) {
    return Error{ErrorCode::bad_request, "expected --resume with --prompts, found it alone"};
  }
  if (is_chat()) return chat(context, generation_, chat_, std::nullopt);
  if (chat_.continue_last) {
    return Error{ErrorCode::bad_request,
                 "expected a terminal and no prompt with -c, which goes on in a chat"};
  }
  LM_TRY(generation_.check());
  const InstanceOptions instance_options = LM_TRY(generation_.model.instance_options());
  prompt_.quiet = generation_.quiet;
  const std::string prompt = LM_TRY(read_prompt(prompt_));

  const auto start = std::chrono::steady_clock::now();
  OpenedModel opened =
      LM_TRY(open_model(context, instance_options, generation_.draft, !generation_.quiet));
  Asker asker = LM_TRY(Asker::open(*opened.instance, generation_));
  Question question = LM_TRY(asker.ask(messages_of(generation_.system, prompt)));
  if (verbose_) describe(opened, question.request.sampling.seed);
  const std::unique_ptr<Engine> engine = Engine::start(
      std::move(opened.instance), {.disk = generation_.cache.open(false, generation_.quiet),
                                   .speculation = std::move(opened.speculation)});
  AnswerHead head{.model = instance_options.model_path.native(),
                  .seed = question.request.sampling.seed,
                  .prompt_tokens = int(question.request.prompt.size()),
                  .load_seconds = seconds_since(start)};
  return answer(*engine, std::move(question), std::move(head), context);
}

Result<ExitStatus> RunCommand::answer_all(const Context& context) {
  if (prompt_.text || prompt_.file || jsonl_ || chat_.continue_last) {
    return Error{ErrorCode::bad_request,
                 "expected --prompts without -p, -f, -c and --jsonl, found one of them beside it"};
  }
  if (prompt_.no_stdin && *batch_.prompts == "-") {
    return Error{ErrorCode::bad_request,
                 "expected either --prompts - (they are on stdin) or --no-stdin, found both"};
  }
  LM_TRY(generation_.check());
  return run_batch(context, generation_, batch_, json_, stats_);
}

Result<ExitStatus> RunCommand::answer(Engine& engine, Question question, AnswerHead head,
                                      const Context& context) const {
  const AnswerForm form = json_ ? AnswerForm::json : jsonl_ ? AnswerForm::jsonl : AnswerForm::text;
  const bool show_reasoning = generation_.think == Think::on ||
                              (generation_.think == Think::automatic && context.out.is_terminal());
  const std::unique_ptr<Answer> sink = make_answer(form, head, show_reasoning, context.out);
  Result<AnswerEnd> ended = generate(engine, std::move(question), *sink, context);
  if (!ended.ok()) {
    Error error = std::move(ended).error();
    if (error.code != ErrorCode::context_full) return error;
    return with_hint(std::move(error),
                     "a larger --ctx makes room, as far as the model and the memory go");
  }
  const AnswerEnd end = std::move(ended).value();
  sink->end(end);
  if (!generation_.quiet) warn_of_shift(end.timings);
  if (stats_) write_stderr(statistics_line(end.timings, head.load_seconds));
  if (pending_signal() != 0) return exit_status_of_signal(pending_signal());
  if (end.finish == Finish::error) {
    return Error{end.error_code, end.error};
  }
  return ExitStatus::ok;
}

}  // namespace

std::unique_ptr<Command> make_run_command() {
  return std::make_unique<RunCommand>();
}

}  // namespace lm::cli
