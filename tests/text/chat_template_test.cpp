// Every template of the fixtures over every conversation, against Jinja2 under Hugging Face's
// settings; then what a rendering says about where its bytes came from.
#include "engine/text/chat_template.h"

#include "engine/core/file.h"
#include "engine/core/json.h"
#include "tests/support/support.h"

namespace lm::test {
namespace {

ChatInput input_of(const Json& entry, const Json& conversation) {
  ChatInput input;
  input.messages = conversation["messages"];
  input.tools = conversation["tools"];
  input.add_generation_prompt = conversation["add_generation_prompt"].get<bool>();
  input.bos_token = entry["bos_token"].get<std::string>();
  input.eos_token = entry["eos_token"].get<std::string>();
  const auto now = CalendarTime::parse(entry["now"].get<std::string>());
  REQUIRE(now);
  input.now = *now;
  return input;
}

TEST_CASE("chat template: the fixtures' templates render as Jinja2 renders them") {
  LM_FIXTURE(path, "templates/cases.json");
  const Json entries = require_ok(parse_json(require_ok(read_file(path, 16 << 20))));
  int n_rendered = 0, n_refused = 0;
  for (const Json& entry : entries) {
    const ChatTemplate chat = require_ok(ChatTemplate::compile(entry["source"].get<std::string>()));
    for (const Json& conversation : entry["cases"]) {
      INFO(entry["template"].get<std::string>(), " ", conversation["name"].get<std::string>());
      const Result<RenderedPrompt> rendered = chat.render(input_of(entry, conversation));
      if (conversation.contains("error")) {
        CHECK(!rendered.ok());
        ++n_refused;
        continue;
      }
      if (!rendered.ok()) FAIL_CHECK(rendered.error().message);
      if (rendered.ok())
        CHECK(rendered.value().text == conversation["expected"].get<std::string>());
      ++n_rendered;
    }
  }
  CHECK(n_rendered + n_refused >= 195);
  CHECK(n_refused > 0);
}

}  // namespace
}  // namespace lm::test
