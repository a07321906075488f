#include "engine/cli/generation_options.h"

#include <limits>
#include <utility>

#include "engine/core/text.h"

namespace lm::cli {
namespace {

constexpr std::pair<std::string_view, Think> kThink[] = {
    {"on", Think::on}, {"off", Think::off}, {"hide", Think::hide}};

}  // namespace

Result<Think> think_from_name(std::string_view name) {
  for (const auto& [known, think] : kThink) {
    if (name == known) return think;
  }
  return Error{ErrorCode::bad_request,
               concat("expected on, off or hide, found \"", printable(name), "\"")};
}

std::string_view think_name(Think think) {
  for (const auto& [name, known] : kThink) {
    if (think == known) return name;
  }
  return "auto";
}

void GenerationOptions::declare(Options& options) {
  declare_answer(options);
  model.declare(options, ModelOptions::Cache::setting);
  cache.declare(options);
  sampling.declare(options);
}

void GenerationOptions::declare_prompt(Options& options) {
  options.text("-s,--system", "TEXT", system,
               "system prompt, for models that have a chat template");
  options.setting();
  options.text("--chat-template", "NAME|FILE", chat_template,
               "the chat template: one of the model's, or a file (default: the model's own)");
  options.setting();
  options.text("--tools", "FILE", tools,
               "the tools that the model may call, a list in JSON; --json has the calls apart");
  options.flag("--raw", raw, "continue the text as it is, without a chat template");
  options.flag("--special", special, "control tokens spelled out in the prompt count as such");
}

void GenerationOptions::declare_answer(Options& options) {
  options.group("Answer");
  options.integer(
      "-n,--max-tokens", "N", max_tokens, -1, std::numeric_limits<int>::max(),
      "most tokens to generate (default: -1, until the model ends or the context is full)");
  options.setting();
  options.each(
      "--stop", "TEXT",
      [this](std::string_view word) -> Status {
        if (word.empty())
          return Error{ErrorCode::bad_request, "expected a text, found an empty one"};
        stop.emplace_back(word);
        return ok();
      },
      "end the answer before TEXT; repeatable");
  options.setting();
  options.value(
      "--overflow", "error|shift",
      [this](std::string_view word) {
        overflow = word == "shift" ? Overflow::shift : Overflow::stop;
        return ok();
      },
      "when the context is full: refuse the prompt or end the answer (error, the default), or "
      "forget the oldest tokens but the first (shift), and say so");
  options.setting();
  options.flag("--ignore-eos", ignore_end, "go on after the model's end token");
  options.value(
      "--think", "on|off|hide",
      [this](std::string_view word) -> Status {
        think = LM_TRY(think_from_name(word));
        return ok();
      },
      "reasoning before the answer: on (shown), off (asks the model for none), hide (default: "
      "shown on a terminal, not in a pipe; --json has it apart). With a form for the answer, on "
      "lets reasoning come before it");
  options.setting();
  grammar.declare(options);
  draft.declare(options);
  options.setting();
}

Status GenerationOptions::check() {
  if (ignore_end && grammar.asked()) {
    return Error{ErrorCode::bad_request,
                 "expected either --ignore-eos or a form for the answer, which has an end, found "
                 "both"};
  }
  LM_TRY(sampling.check());
  return grammar.read();
}

}  // namespace lm::cli
