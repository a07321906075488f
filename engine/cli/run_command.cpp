// llm run — one prompt, one answer: what "llm -p TEXT" means.
#include <array>
#include <chrono>
#include <cstdio>
#include <limits>

#include "engine/cli/answer.h"
#include "engine/cli/chat_prompt.h"
#include "engine/cli/generate.h"
#include "engine/cli/model_options.h"
#include "engine/cli/prompt.h"
#include "engine/cli/sampling_options.h"
#include "engine/cli/terminal.h"
#include "engine/core/machine.h"
#include "engine/core/text.h"
#include "engine/runtime/engine.h"
#include "engine/runtime/sampling_text.h"

namespace lm::cli {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// "12 tokens in 0.034 s (353 per second)"
std::string rate(int tokens, double seconds) {
  std::array<char, 96> text;
  std::snprintf(text.data(), text.size(), "%d tokens in %.3f s (%.1f per second)", tokens, seconds,
                seconds > 0 ? tokens / seconds : 0);
  return text.data();
}

std::string statistics(const AnswerHead& head, const Timings& t) {
  return concat("llm: loaded in ", int64_t(head.load_seconds * 1000), " ms; prompt ",
                rate(t.prompt_tokens, t.prompt_seconds), "; answer ",
                rate(t.generated_tokens, t.generate_seconds), "; peak memory ",
                human_bytes(peak_rss()), "\n");
}

class RunCommand final : public Command {
 public:
  std::string_view name() const override { return "run"; }
  std::string_view summary() const override { return "answer a prompt, on stdout"; }
  void declare(Options& options) override;
  Result<ExitStatus> run(const Context& context) override;

 private:
  void declare_prompt(Options& options);
  void declare_output(Options& options);
  void describe(const Instance& instance, uint64_t seed) const;
  Result<std::vector<TokenId>> encode(const Instance& instance, std::string_view prompt) const;
  Result<Request> make_request(const Instance& instance, std::string_view prompt) const;
  Result<ExitStatus> answer(Engine& engine, Request request, AnswerHead head,
                            const Context& context) const;

  PromptSources prompt_;
  ModelOptions model_;
  SamplingOptions sampling_;
  std::optional<std::string> system_, template_;
  std::vector<std::string> stop_;
  int max_tokens_ = -1;
  bool raw_ = false, special_ = false, ignore_end_ = false;
  bool json_ = false, jsonl_ = false, stats_ = false, quiet_ = false, verbose_ = false;
};

void RunCommand::declare(Options& options) {
  declare_prompt(options);
  model_.declare(options);
  sampling_.declare(options);
  declare_output(options);
}

void RunCommand::declare_prompt(Options& options) {
  options.group("Prompt (of -p, -f and stdin, what there is, a blank line between)");
  options.text("-p,--prompt", "TEXT", prompt_.text, "the prompt; - reads it from stdin");
  options.text("-f,--file", "FILE", prompt_.file,
               "a file that holds the prompt; its last newline is left out");
  options.flag("--no-stdin", prompt_.no_stdin,
               "do not read stdin, which is read when it is a pipe or a file");
  options.text("-s,--system", "TEXT", system_,
               "system prompt, for models that have a chat template");
  options.text("--chat-template", "NAME|FILE", template_,
               "the chat template: one of the model's, or a file (default: the model's own)");
  options.flag("--raw", raw_, "continue the text as it is, without a chat template");
  options.flag("--special", special_, "control tokens spelled out in the prompt count as such");
  options.group("Answer");
  options.integer(
      "-n,--max-tokens", "N", max_tokens_, -1, std::numeric_limits<int>::max(),
      "most tokens to generate (default: -1, until the model ends or the context is full)");
  options.each(
      "--stop", "TEXT",
      [this](std::string_view word) -> Status {
        if (word.empty())
          return Error{ErrorCode::bad_request, "expected a text, found an empty one"};
        stop_.emplace_back(word);
        return ok();
      },
      "end the answer before TEXT; repeatable");
  options.flag("--ignore-eos", ignore_end_, "go on after the model's end token");
}

void RunCommand::declare_output(Options& options) {
  options.group("Output");
  options.flag(
      "--json", json_,
      "one JSON object at the end: text, finish (stop, length, cancelled, error), prompt_tokens, "
      "generated_tokens, seed, model, load_seconds, prompt_seconds, generate_seconds");
  options.flag("--jsonl", jsonl_,
               "one JSON object a line: an event \"start\", \"token\" (text, id, logprob) for "
               "each, \"end\" (as --json)");
  options.flag("--stats", stats_, "timings on stderr after the answer");
  options.flag("-q,--quiet", quiet_, "no warnings, hints or progress on stderr");
  options.flag("-v,--verbose", verbose_, "what was loaded, and how it runs, on stderr");
}

void RunCommand::describe(const Instance& instance, uint64_t seed) const {
  const ModelConfig& config = instance.config();
  write_stderr(concat("llm: ", printable(model_.model.path.value_or("")), ": ",
                      printable(config.family), ", ", config.layers.size(), " layers, d_model ",
                      config.d_model, ", vocabulary ", config.n_vocab, ", ",
                      human_bytes(instance.weight_bytes()), " read per token\n"));
  write_stderr(concat("llm: ", instance.backend().name(), " (", instance.backend().detail(),
                      "), context ", instance.n_ctx(), " of ", config.n_ctx_train,
                      " trained, KV cache ", dtype_name(instance.kv_dtype()), " ",
                      human_bytes(instance.kv_bytes()), ", seed ", seed, "\n"));
}

Result<std::vector<TokenId>> RunCommand::encode(const Instance& instance,
                                                std::string_view prompt) const {
  const Tokenizer& tokenizer = *instance.tokenizer();
  std::optional<ChatTemplate> chat;
  if (!raw_) chat = LM_TRY(find_chat_template(&instance.file(), template_));
  std::vector<TokenId> ids;
  if (chat) {
    ids = LM_TRY(encode_chat(*chat, tokenizer, {system_, prompt, special_}));
  } else {
    if (system_ && !quiet_) {
      warn("-s is left out: the text is continued as it is, without a chat template");
    }
    const auto special = special_ ? Tokenizer::Special::parse : Tokenizer::Special::as_text;
    tokenizer.encode(prompt, special, ids);
  }
  const TokenId bos = tokenizer.bos();
  const bool wanted = tokenizer.add_bos() || ids.empty();  // something must be there to continue
  if (wanted && bos >= 0 && (ids.empty() || ids.front() != bos)) ids.insert(ids.begin(), bos);
  if (!ids.empty()) return ids;
  return Error{ErrorCode::bad_request,
               "expected a prompt that is not empty: this model has no token that begins a text"};
}

Result<Request> RunCommand::make_request(const Instance& instance, std::string_view prompt) const {
  const Tokenizer* tokenizer = instance.tokenizer();
  if (tokenizer == nullptr) {
    return Error{ErrorCode::unsupported,
                 "expected a model with a vocabulary, found a file without one"};
  }
  Request request;
  request.sampling =
      LM_TRY(sampling_.resolve(LM_TRY(sampling_defaults(instance.file())), *tokenizer));
  request.prompt = LM_TRY(encode(instance, prompt));
  request.max_tokens = max_tokens_;
  request.stop = stop_;
  request.ignore_end = ignore_end_;
  return request;
}

Result<ExitStatus> RunCommand::run(const Context& context) {
  if (json_ && jsonl_) {
    return Error{ErrorCode::bad_request, "expected either --json or --jsonl, found both"};
  }
  LM_TRY(sampling_.check());
  const InstanceOptions instance_options = LM_TRY(model_.instance_options());
  prompt_.quiet = quiet_;
  const std::string prompt = LM_TRY(read_prompt(prompt_));

  const auto start = std::chrono::steady_clock::now();
  std::unique_ptr<Instance> instance = LM_TRY(open_instance(context, instance_options, !quiet_));
  if (instance->weights_in_file()) {
    warn("the weights are larger than the available memory: they are read from the file, slowly");
  }
  Request request = LM_TRY(make_request(*instance, prompt));
  if (verbose_) describe(*instance, request.sampling.seed);
  const std::unique_ptr<Engine> engine = Engine::start(std::move(instance));
  AnswerHead head{.model = instance_options.model_path.native(),
                  .seed = request.sampling.seed,
                  .prompt_tokens = int(request.prompt.size()),
                  .load_seconds = seconds_since(start)};
  return answer(*engine, std::move(request), std::move(head), context);
}

Result<ExitStatus> RunCommand::answer(Engine& engine, Request request, AnswerHead head,
                                      const Context& context) const {
  const AnswerForm form = json_ ? AnswerForm::json : jsonl_ ? AnswerForm::jsonl : AnswerForm::text;
  const std::unique_ptr<Answer> sink = make_answer(form, head, context.out);
  Result<AnswerEnd> ended = generate(engine, std::move(request), *sink, context);
  if (!ended.ok()) {
    Error error = std::move(ended).error();
    if (error.code != ErrorCode::context_full) return error;
    return with_hint(std::move(error),
                     "a larger --ctx makes room, as far as the model and the memory go");
  }
  const AnswerEnd end = std::move(ended).value();
  sink->end(end);
  if (stats_) write_stderr(statistics(head, end.timings));
  if (pending_signal() != 0) return exit_status_of_signal(pending_signal());
  if (end.finish == Finish::error) {
    return Error{ErrorCode::device, end.error};
  }
  return ExitStatus::ok;
}

}  // namespace

std::unique_ptr<Command> make_run_command() {
  return std::make_unique<RunCommand>();
}

}  // namespace lm::cli
