// engine/text/chat_template.h — conversations as the text that a model was trained on. A template
// is written in Jinja, as Hugging Face runs it; ours is a subset of our own (engine/text/jinja)
// that cannot run forever, fill the memory or reach anything outside itself.
#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/json.h"
#include "engine/core/result.h"
#include "engine/core/text_range.h"
#include "engine/text/jinja/calendar.h"

namespace lm {

struct ChatInput {
  Json messages = Json::array();  // {"role": ..., "content": ..., "tool_calls": ...}
  Json tools = nullptr;           // null: none
  bool add_generation_prompt = true;
  std::string bos_token{}, eos_token{};  // as the vocabulary spells them
  Json variables = Json::object();       // more of them, such as enable_thinking
  CalendarTime now = CalendarTime::local_now();
};

struct RenderedPrompt {
  std::string text;
  // The parts of `text` that came from messages, tools and variables. They may spell control
  // tokens, and must not become them: see Tokenizer::encode_prompt.
  std::vector<TextRange> input;
};

class ChatTemplate {
 public:
  // bad_file, with the line, when it is not a template or uses what ours does not know.
  static Result<ChatTemplate> compile(std::string_view source);

  const std::string& source() const;

  // bad_request when the template refuses the conversation (raise_exception); bad_file when it
  // fails otherwise, or does not end.
  Result<RenderedPrompt> render(const ChatInput& input) const;

 private:
  struct Program;
  std::shared_ptr<const Program> program_;
};

}  // namespace lm
