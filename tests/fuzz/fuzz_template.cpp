// Compiles any bytes as a chat template and renders a conversation with it.
#include <cstdint>
#include <string_view>

#include "engine/core/check.h"
#include "engine/text/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto chat =
      lm::ChatTemplate::compile(std::string_view(reinterpret_cast<const char*>(data), size));
  if (!chat.ok()) return 0;
  lm::ChatInput input;
  input.messages = {{{"role", "user"}, {"content", " a\xC3\xA9<b> "}},
                    {{"role", "assistant"}, {"content", {1, 2.5, nullptr, true}}}};
  input.tools = {{{"name", "f"}, {"parameters", {{"x", "y"}}}}};
  input.now = {};
  const auto prompt = chat.value().render(input);
  if (!prompt.ok()) return 0;
  size_t end = 0;
  for (const lm::TextRange& range : prompt.value().input) {
    LM_CHECK(range.begin >= end && range.begin < range.end);
    end = range.end;
  }
  LM_CHECK(end <= prompt.value().text.size());
  return 0;
}
