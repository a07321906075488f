// Replies of models taken apart: every format, cut anywhere, and garbage.
#include "engine/text/reply_parser.h"

#include "engine/core/json.h"
#include "tests/support/support.h"

namespace lm {
namespace {

struct Parsed {
  Reply reply;
  std::string events;  // in order, texts of one kind joined
};

Parsed parse(const ReplyFormat& format, std::span<const std::string_view> pieces) {
  Parsed parsed;
  int last = -1;
  ReplyParser parser(format, [&](const ReplyEvent& event) {
    parsed.reply.take(event);
    if (int(event.kind) != last || int(event.kind) > 1)
      parsed.events += char('0' + int(event.kind));
    last = int(event.kind);
  });
  for (const std::string_view piece : pieces) parser.push(piece);
  parser.finish();
  return parsed;
}

std::string shown(const Parsed& parsed) {
  Json calls = Json::array();
  for (const ToolCall& call : parsed.reply.calls) {
    calls.push_back({call.id, call.name, call.arguments, call.complete});
  }
  return dump_json({parsed.reply.reasoning, parsed.reply.content, calls});
}

// The reply as a whole, and in every other division: two pieces, and byte by byte.
Reply reply_of(const ReplyFormat& format, std::string_view text) {
  const std::string_view whole[] = {text};
  const Parsed parsed = parse(format, whole);
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    const std::string_view two[] = {text.substr(0, cut), text.substr(cut)};
    CHECK(shown(parse(format, two)) == shown(parsed));
  }
  std::vector<std::string_view> bytes;
  for (size_t i = 0; i < text.size(); ++i) bytes.push_back(text.substr(i, 1));
  CHECK(shown(parse(format, bytes)) == shown(parsed));
  return parsed.reply;
}

ReplyFormat with_tools(ToolSyntax syntax) {
  ReplyFormat format;
  format.tools = syntax;
  return format;
}

ReplyFormat harmony(std::string header = "assistant") {
  ReplyFormat format;
  format.channels = true;
  format.header = std::move(header);
  return format;
}

void check_call(const ToolCall& call, std::string_view name, std::string_view arguments) {
  CHECK(call.name == name);
  CHECK(call.arguments == arguments);
  CHECK(call.complete);
}

TEST_CASE("reply: a plain answer is untouched") {
  for (const char* text : {"", " \n", "Hello", "  two  spaces \n\n", "a <think> b </think>",
                           "1 < 2", "{\"name\": \"f\"}", "<", "<thin"}) {
    const Reply reply = reply_of({}, text);
    CHECK(reply.content == text);
    CHECK(reply.reasoning.empty());
  }
}

TEST_CASE("reply: reasoning in all its brackets") {
  for (const ReasoningTags& tags : reasoning_tags()) {
    const std::string text =
        "\n" + std::string(tags.begin) + "\nLet me <b>.\n\n" + std::string(tags.end) + "\n\nYes.\n";
    const Reply reply = reply_of({}, text);
    CHECK(reply.reasoning == "Let me <b>.");
    CHECK(reply.content == "Yes.\n");
  }
  CHECK(reply_of({}, "<think>never ended").reasoning == "never ended");
  CHECK(reply_of({}, "<think>\n\n</think>\n\nHi").content == "Hi");
}

TEST_CASE("reply: a block that the prompt has opened") {
  const ReplyFormat format = reply_format("", "<|im_start|>assistant\n<think>\n", false);
  CHECK(format.reasoning_end == "</think>");
  const Reply reply = reply_of(format, "Hm.\n</think>\n\nHi <think> there");
  CHECK(reply.reasoning == "Hm.");
  CHECK(reply.content == "Hi <think> there");
  CHECK(reply_format("", "<think>\n\n</think>\n\n", false).reasoning_end.empty());
}

TEST_CASE("reply: channels of gpt-oss") {
  const Reply reply =
      reply_of(harmony(),
               "<|channel|>analysis<|message|>User greets.<|end|><|start|>assistant<|channel|>final"
               "<|message|>Hello!<|return|>");
  CHECK(reply.reasoning == "User greets.");
  CHECK(reply.content == "Hello!");
  const Reply call = reply_of(
      harmony(),
      "<|channel|>analysis<|message|>Look it up.<|end|><|start|>assistant<|channel|>commentary "
      "to=functions.get_weather <|constrain|>json<|message|>{\"city\": \"Paris\"}<|call|>");
  CHECK(call.reasoning == "Look it up.");
  REQUIRE(call.calls.size() == 1);
  check_call(call.calls[0], "get_weather", R"({"city": "Paris"})");
  const Reply early =
      reply_of(harmony(), " to=functions.f<|channel|>commentary json<|message|>{\"a\":\"<|\"}");
  REQUIRE(early.calls.size() == 1);
  check_call(early.calls[0], "f", R"({"a":"<|"})");
  CHECK(reply_of(harmony("assistant<|channel|>final<|message|>"), "Hi").content == "Hi");
  CHECK(reply_of(harmony(), " no channel at all").content == " no channel at all");
  const std::string long_answer(2000, 'x');
  CHECK(reply_of(harmony(), long_answer.substr(0, 700)).content == long_answer.substr(0, 700));
}

TEST_CASE("reply: calls of Hermes and Qwen") {
  const Reply reply = reply_of(
      with_tools(ToolSyntax::tags),
      "<think>Two.</think>\n\nI will look.\n<tool_call>\n{\"name\": \"get\", \"arguments\": "
      "{\"q\": \"</tool_call> \\\"x\\\" {\", \"n\": [1, {}]}}\n</tool_call>\n<tool_call>\n"
      "{\"arguments\": {}, \"name\": \"put\", \"id\": \"7\"}\n</tool_call>");
  CHECK(reply.reasoning == "Two.");
  CHECK(reply.content == "I will look.");
  REQUIRE(reply.calls.size() == 2);
  check_call(reply.calls[0], "get", R"({"q": "</tool_call> \"x\" {", "n": [1, {}]})");
  check_call(reply.calls[1], "put", "{}");
  CHECK(reply.calls[1].id == "7");
}

TEST_CASE("reply: calls of Qwen coder and GLM") {
  const Reply qwen =
      reply_of(with_tools(ToolSyntax::tags),
               "<tool_call>\n<function=edit>\n<parameter=path>\na b.txt\n</parameter>"
               "\n<parameter=line>\n3\n</parameter>\n</function>\n</tool_call>");
  REQUIRE(qwen.calls.size() == 1);
  check_call(qwen.calls[0], "edit", R"({"path":"a b.txt","line":3})");
  const Reply glm = reply_of(
      with_tools(ToolSyntax::tags),
      "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Berlin</arg_value>\n"
      "<arg_key>days</arg_key>\n<arg_value>[1, 2]</arg_value>\n</tool_call>\n<tool_call>now\n"
      "</tool_call>");
  REQUIRE(glm.calls.size() == 2);
  check_call(glm.calls[0], "get_weather", R"({"city":"Berlin","days":[1,2]})");
  check_call(glm.calls[1], "now", "{}");
}

TEST_CASE("reply: calls of Llama 3") {
  const ReplyFormat format = with_tools(ToolSyntax::llama3);
  const Reply bare = reply_of(format, R"({"name": "f", "parameters": {"a": 1}})");
  REQUIRE(bare.calls.size() == 1);
  check_call(bare.calls[0], "f", R"({"a": 1})");
  const Reply two = reply_of(
      format, R"(<|python_tag|>{"name": "f", "parameters": {}}; {"name": "g", "parameters": {}})");
  REQUIRE(two.calls.size() == 2);
  check_call(two.calls[1], "g", "{}");
  const Reply code = reply_of(format, "<|python_tag|>print(\"{}\")\nx");
  REQUIRE(code.calls.size() == 1);
  check_call(code.calls[0], "python", R"({"code":"print(\"{}\")\nx"})");
  CHECK(reply_of(format, R"({"answer": 42} is it)").content == R"({"answer": 42} is it)");
}

TEST_CASE("reply: calls of Mistral") {
  const ReplyFormat format = with_tools(ToolSyntax::mistral);
  const Reply list = reply_of(
      format,
      R"([TOOL_CALLS] [{"name": "f", "arguments": {"a": "]"}, "id": "abc"}, {"name": "g", "arguments": {}}])");
  REQUIRE(list.calls.size() == 2);
  check_call(list.calls[0], "f", R"({"a": "]"})");
  CHECK(list.calls[0].id == "abc");
  check_call(list.calls[1], "g", "{}");
  const Reply named =
      reply_of(format, R"(Sure.[TOOL_CALLS]f[CALL_ID]x1[ARGS]{"a": 1}[TOOL_CALLS]g[ARGS]{})");
  CHECK(named.content == "Sure.");
  REQUIRE(named.calls.size() == 2);
  check_call(named.calls[0], "f", R"({"a": 1})");
  CHECK(named.calls[0].id == "x1");
  check_call(named.calls[1], "g", "{}");
}

TEST_CASE("reply: calls of DeepSeek, older and newer") {
  const ReplyFormat format = with_tools(ToolSyntax::deepseek);
  const Reply older = reply_of(
      format,
      "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{\"a\": 1}\n```"
      "<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>g\n```json\n{}\n```"
      "<｜tool▁call▁end｜><｜tool▁calls▁end｜>");
  REQUIRE(older.calls.size() == 2);
  check_call(older.calls[0], "f", R"({"a": 1})");
  check_call(older.calls[1], "g", "{}");
  const Reply newer = reply_of(format,
                               "On it.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>"
                               "{\"a\": 1}<｜tool▁call▁end｜><｜tool▁calls▁end｜>");
  CHECK(newer.content == "On it.");
  REQUIRE(newer.calls.size() == 1);
  check_call(newer.calls[0], "f", R"({"a": 1})");
}

TEST_CASE("reply: the name and the arguments come before the call is whole") {
  const std::string_view pieces[] = {"<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": [1, "};
  const Reply reply = parse(with_tools(ToolSyntax::tags), pieces).reply;
  REQUIRE(reply.calls.size() == 1);
  CHECK(reply.calls[0].name == "f");
  CHECK(reply.calls[0].arguments == "{\"a\": [1, ");
  CHECK_FALSE(reply.calls[0].complete);
  CHECK(closed_json(reply.calls[0].arguments) == "{\"a\": [1]}");
}

TEST_CASE("reply: what is no call stays in the answer") {
  for (const char* text : {"<tool_call>\nnot a call\n</tool_call>", "<tool_call>{]", "<tool_call>",
                           "<tool_call>{\"name\": 5}</tool_call> x"}) {
    const Reply reply = reply_of(with_tools(ToolSyntax::tags), text);
    CHECK(reply.calls.empty());
    CHECK(reply.content == text);
  }
  CHECK(reply_of(with_tools(ToolSyntax::mistral), "[TOOL_CALLS] {no").content ==
        "[TOOL_CALLS] {no");
}

TEST_CASE("reply: random pieces of all formats, cut anywhere") {
  constexpr std::string_view kParts[] = {"<think>",
                                         "</think>",
                                         "<tool_call>",
                                         "</tool_call>",
                                         "{\"name\": \"f\"",
                                         ", \"arguments\": {",
                                         "}",
                                         "\"",
                                         "\\",
                                         "[TOOL_CALLS]",
                                         "[ARGS]",
                                         "{",
                                         " \n",
                                         "<|channel|>",
                                         "<|message|>",
                                         "<|start|>",
                                         "<|end|>",
                                         "analysis",
                                         "to=functions.g",
                                         "<|python_tag|>",
                                         "<｜tool▁calls▁begin｜>",
                                         "<｜tool▁call▁begin｜>",
                                         "<｜tool▁sep｜>",
                                         "<｜tool▁call▁end｜>",
                                         "<function=f>",
                                         "<arg_key>",
                                         "text",
                                         "<",
                                         "]"};
  test::Random random(11);
  for (int round = 0; round < 3000; ++round) {
    std::string text;
    for (uint64_t n = random.below(12); n > 0; --n) text += kParts[random.below(std::size(kParts))];
    ReplyFormat format = with_tools(ToolSyntax(random.below(5)));
    if (random.below(4) == 0) format = harmony();
    const std::string_view whole[] = {text};
    const Parsed expected = parse(format, whole);
    std::vector<std::string_view> pieces;
    for (size_t at = 0; at < text.size();) {
      const size_t n = 1 + random.below(9);
      pieces.push_back(std::string_view(text).substr(at, n));
      at += n;
    }
    INFO(text);
    CHECK(shown(parse(format, pieces)) == shown(expected));
  }
}

TEST_CASE("reply: formats are known by their templates") {
  CHECK(reply_format("…<tool_call>…", "", true).tools == ToolSyntax::tags);
  CHECK(reply_format("…<tool_call>…", "", false).tools == ToolSyntax::none);
  CHECK(reply_format("[TOOL_CALLS]", "", true).tools == ToolSyntax::mistral);
  CHECK(reply_format("<|python_tag|>", "", true).tools == ToolSyntax::llama3);
  CHECK(reply_format("<｜tool▁calls▁begin｜>", "", true).tools == ToolSyntax::deepseek);
  const ReplyFormat format = reply_format(
      "<|channel|><|message|>", "<|start|>user<|message|>x<|end|><|start|>assistant", true);
  CHECK(format.channels);
  CHECK(format.header == "assistant");
}

TEST_CASE("json: an unfinished text is closed") {
  const std::pair<const char*, const char*> kCases[] = {
      {"", "null"},
      {"{", "{}"},
      {"{\"a", "{}"},
      {"{\"a\"", "{}"},
      {"{\"a\":", "{}"},
      {"{\"a\": \"x", "{\"a\": \"x\"}"},
      {"{\"a\": \"x\\", "{\"a\": \"x\"}"},
      {"{\"a\": \"x\\\\", "{\"a\": \"x\\\\\"}"},
      {"{\"a\": \"\\u00", "{\"a\": \"\"}"},
      {"{\"a\": tr", "{}"},
      {"{\"a\": true", "{\"a\": true}"},
      {"{\"a\": 12", "{\"a\": 12}"},
      {"{\"a\": -", "{}"},
      {"{\"a\": [1, 2", "{\"a\": [1, 2]}"},
      {"{\"a\": [1, {\"b\": \"c\"}, ", "{\"a\": [1, {\"b\": \"c\"}]}"},
      {"[\"x\", \"y", "[\"x\", \"y\"]"},
      {"{\"a\": 1}", "{\"a\": 1}"},
      {"\"text", "\"text\""},
      {"nonsense", "null"},
      {"}", "null"},
  };
  for (const auto& [partial, closed] : kCases) {
    INFO(partial);
    CHECK(closed_json(partial) == closed);
  }
  const std::string whole =
      R"({"a": "x\\\"y\u20ac", "b": [true, null, -1.5e3, {}], "c": {"d": ""}})";
  for (size_t n = 0; n <= whole.size(); ++n) {
    CHECK(parse_json(closed_json(std::string_view(whole).substr(0, n))).ok());
  }
  CHECK(closed_json(whole) == whole);
}

}  // namespace
}  // namespace lm
