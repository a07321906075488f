// llm render — the prompt that a chat template makes of a conversation.
#include <filesystem>

#include "engine/cli/chat_prompt.h"
#include "engine/cli/command.h"
#include "engine/cli/model_options.h"
#include "engine/cli/terminal.h"
#include "engine/core/text.h"

namespace lm::cli {
namespace {

class RenderCommand final : public Command {
 public:
  std::string_view name() const override { return "render"; }
  std::string_view summary() const override { return "the prompt that a chat template makes"; }

  void declare(Options& options) override {
    options.text("--messages", "FILE", messages_,
                 "the conversation, JSON: [{\"role\": ..., \"content\": ...}, ...]");
    options.text("--tools", "FILE", tools_, "the tools that the model may call, a list in JSON");
    model_.declare(options);
    options.text("--chat-template", "NAME|FILE", template_,
                 "one of the model's templates, or a file with one");
    options.flag("--no-generation-prompt", no_generation_prompt_,
                 "leave out what begins the answer");
    options.text("--bos", "TEXT", bos_, "what begins a text (default: the model's)");
    options.text("--eos", "TEXT", eos_, "what ends a text (default: the model's)");
    options.value(
        "--now", "TIME",
        [this](std::string_view word) -> Status {
          now_ = CalendarTime::parse(word);
          if (now_) return ok();
          return Error{ErrorCode::bad_request,
                       concat("expected a time such as \"2026-01-15 12:00:00\", found \"",
                              printable(word), "\"")};
        },
        "the time that the template sees, \"YYYY-MM-DD hh:mm:ss\" (default: now)");
  }

  Result<ExitStatus> run(const Context& context) override {
    if (!messages_) {
      return Error{ErrorCode::bad_request, "expected --messages FILE, found none"};
    }
    ChatInput input;
    const std::optional<ChatTemplate> chat = LM_TRY(open(input));
    if (!chat) {
      return with_hint(
          Error{ErrorCode::bad_file, "expected a model with a chat template, found none in it"},
          "--chat-template FILE names one");
    }
    input.messages = LM_TRY(read_json_file(*messages_, "messages"));
    if (tools_) input.tools = LM_TRY(read_json_file(*tools_, "tools"));
    if (!input.messages.is_array()) {
      return Error{ErrorCode::bad_file, "expected a list of messages, found other JSON"};
    }
    input.add_generation_prompt = !no_generation_prompt_;
    if (bos_) input.bos_token = *bos_;
    if (eos_) input.eos_token = *eos_;
    if (now_) input.now = *now_;
    const RenderedPrompt prompt = LM_TRY(chat->render(input));
    context.out.write(context.out.is_terminal() ? terminal_safe(prompt.text) + "\n" : prompt.text);
    return ExitStatus::ok;
  }

 private:
  // The template; what the model says of BOS and EOS goes into `input`.
  Result<std::optional<ChatTemplate>> open(ChatInput& input) const {
    const bool has_model = model_.path && !model_.path->empty();
    if (!has_model && template_) return find_chat_template(nullptr, template_);
    const gguf::File file = LM_TRY(gguf::File::open(LM_TRY(model_.resolve())));
    const std::unique_ptr<Tokenizer> tokenizer = LM_TRY(Tokenizer::from_gguf(file));
    input.bos_token = bos_text(*tokenizer);
    input.eos_token = eos_text(*tokenizer);
    return find_chat_template(&file, template_);
  }

  ModelPath model_;
  std::optional<std::string> messages_, tools_, template_, bos_, eos_;
  std::optional<CalendarTime> now_;
  bool no_generation_prompt_ = false;
};

}  // namespace

std::unique_ptr<Command> make_render_command() {
  return std::make_unique<RenderCommand>();
}

}  // namespace lm::cli
