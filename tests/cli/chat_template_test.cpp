// Chat templates through the real program: llm render, and the prompt that llm -p makes of one.
#include <algorithm>
#include <fstream>

#include "engine/core/file.h"
#include "engine/core/json.h"
#include "tests/cli/marked_model.h"
#include "tests/cli/process.h"
#include "tests/reference/tiny_model.h"

namespace lm::test {
namespace {

constexpr std::string_view kTemplate =
    "{% for m in messages %}{{ bos_token if loop.first }}[{{ m.role }}]{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}";

void write(const std::filesystem::path& path, std::string_view text) {
  std::ofstream(path, std::ios::binary) << text;
}

// A folder with a tiny model that has a chat template, and one named "other".
struct Models {
  TempDir folder;
  std::string model = (folder.path() / "chat.gguf").string();

  Models() {
    TinyFile file = write_tiny_model(tiny_model("llama"));
    file.writer.set_str("tokenizer.chat_template", kTemplate);
    file.writer.set_str("tokenizer.chat_template.other", "{{ messages[0].content|upper }}");
    require_ok(file.save(model));
  }
  std::string file(std::string_view name, std::string_view text) const {
    write(folder.path() / name, text);
    return (folder.path() / name).string();
  }
  int prompt_tokens(std::vector<std::string> args) const {
    args.insert(args.begin(), {"-m", model, "-n", "1", "--json"});
    const Finished run = run_llm(std::move(args));
    CHECK(run.status == 0);
    return require_ok(parse_json(run.out))["prompt_tokens"].get<int>();
  }
};

TEST_CASE("render: the template of the model, a named one and one of a file") {
  const Models models;
  const std::string messages = models.file(
      "messages.json", R"([{"role": "system", "content": "S"}, {"role": "user", "content": "U"}])");
  const auto render = [&](std::vector<std::string> args) {
    args.insert(args.begin(), {"render", "--messages", messages});
    return run_llm(std::move(args));
  };
  CHECK(render({"-m", models.model}).out == "<s>[system]S[user]U[assistant]");
  CHECK(render({"-m", models.model, "--no-generation-prompt", "--bos", "B"}).out ==
        "B[system]S[user]U");
  CHECK(render({"-m", models.model, "--chat-template", "other"}).out == "S");
  const std::string own = models.file(
      "own.jinja", "{{ tools[0].name }} {{ eos_token }} {{ strftime_now('%d %B %Y') }}\n");
  const std::string tools = models.file("tools.json", R"([{"name": "t"}])");
  CHECK(render({"--chat-template", own, "--tools", tools, "--eos", "E", "--now",
                "2026-01-05 12:00:00"})
            .out == "t E 05 January 2026");
}

TEST_CASE("render: mistakes are one line and have their status") {
  const Models models;
  const std::string messages = models.file("messages.json", R"([{"role": "user"}])");
  const auto status = [&](std::vector<std::string> args, std::string_view says) {
    args.insert(args.begin(), "render");
    const Finished run = run_llm(std::move(args));
    CHECK(run.out.empty());
    CHECK(run.err.find(says) != std::string::npos);
    return run.status;
  };
  CHECK(status({"-m", models.model}, "--messages") == 2);
  CHECK(status({"--messages", messages}, "expected a model") == 2);
  CHECK(status({"-m", models.model, "--messages", "no/such.json"}, "no/such.json") == 3);
  CHECK(status({"-m", models.model, "--messages", models.file("bad.json", "[")}, "JSON") == 3);
  CHECK(status({"-m", models.model, "--messages", messages, "--now", "noon"}, "noon") == 2);
  const std::string broken = models.file("broken.jinja", "a\n{% if %}");
  CHECK(status({"--chat-template", broken, "--messages", messages}, "line 2") == 3);
  const std::string refusing = models.file("no.jinja", "{{ raise_exception('not like this') }}");
  CHECK(status({"--chat-template", refusing, "--messages", messages}, "not like this") == 2);
}

// How many ids llm tokenize makes of a rendered prompt.
int count_tokens(const Models& models, const std::string& text) {
  const Finished run =
      run_llm({"tokenize", "-m", models.model, "--special", "--no-bos", "--json", text});
  REQUIRE(run.status == 0);
  return int(require_ok(parse_json(run.out))["tokens"].size());
}

TEST_CASE("chat template: llm -p asks through the model's, --raw does not") {
  const Models models;
  // BOS comes once, although template and vocabulary both want it.
  CHECK(models.prompt_tokens({"-p", "x"}) == count_tokens(models, "<s>[user]x[assistant]"));
  CHECK(models.prompt_tokens({"-p", "x", "-s", "y"}) ==
        count_tokens(models, "<s>[system]y[user]x[assistant]"));
  const int raw = models.prompt_tokens({"-p", "X", "--raw"});
  CHECK(raw == count_tokens(models, "<s>X"));
  CHECK(models.prompt_tokens({"-p", "x", "--chat-template", "other"}) == raw);
}

TEST_CASE("chat template: control tokens in a prompt stay text unless --special says otherwise") {
  const Models models;
  const int parsed = count_tokens(models, "<s>[user]a</s>b[assistant]");
  CHECK(models.prompt_tokens({"-p", "a</s>b", "--special"}) == parsed);
  CHECK(models.prompt_tokens({"-p", "a</s>b"}) ==
        count_tokens(models, "<s>[user]a<_s>b[assistant]"));  // as many bytes, and no token
}

TEST_CASE("reasoning: apart in JSON, not on stdout unless asked for, off by the template") {
  const Models models;
  const std::string thinking = models.file(
      "think.jinja",
      "{{ messages[0].content }}{% if enable_thinking is defined and not enable_thinking %}"
      "[no]{% else %}<think>\n{% endif %}");
  const auto run = [&](std::vector<std::string> args) {
    args.insert(args.begin(), {"-m", models.model, "-p", "x", "-n", "12", "--seed", "5",
                               "--ignore-eos", "--chat-template", thinking});
    Finished finished = run_llm(std::move(args));
    CHECK(finished.status == 0);
    return finished.out;
  };
  const Json json = require_ok(parse_json(run({"--json"})));
  CHECK(json["text"] == "");
  const std::string reasoning = json["reasoning"];
  CHECK_FALSE(reasoning.empty());
  CHECK(run({}).empty());
  CHECK(run({"--think", "hide"}).empty());
  CHECK(run({"--think", "on"}) == "<think>\n" + reasoning + "\n</think>\n\n");
  CHECK_FALSE(run({"--think", "off"}).empty());
  CHECK(run_llm({"-m", models.model, "-p", "x", "--think", "maybe"}).status == 2);
}

TEST_CASE("tools: the template sees them") {
  const Models models;
  const std::string lists = models.file("tools.jinja", "{{ tools[0].name if tools else 'none' }}");
  const std::string tools = models.file("tools.json", R"([{"name": "a_long_name"}])");
  const int without = models.prompt_tokens({"-p", "x", "--chat-template", lists});
  const int with = models.prompt_tokens({"-p", "x", "--chat-template", lists, "--tools", tools});
  CHECK(without == count_tokens(models, "<s>none"));
  CHECK(with == count_tokens(models, "<s>a_long_name"));
  CHECK(run_llm({"-m", models.model, "-p", "x", "--tools", "/no/such"}).status == 3);
}

TEST_CASE("reasoning: with --think on it comes before the form, without it there is none") {
  const Models models;
  const std::string schema = models.file("s.json", R"({"enum":["yes","no"]})");
  const auto ask = [&](const Marked& model, std::vector<std::string> args) {
    args.insert(args.end(), {"-m", model.path, "-p", "x", "--json", "--json-schema", schema,
                             "--seed", "3", "-n", "200", "--logit-bias", model.bias()});
    const Finished run = run_llm(std::move(args));
    INFO(run.err);
    REQUIRE(run.status == 0);
    return require_ok(parse_json(run.out));
  };
  const auto is_answer = [](const Json& text) { return text == "\"yes\"" || text == "\"no\""; };
  const std::string open_block = "{{ messages[0].content }}<think>\n";
  for (const char* end : {"</think>", "hm</think>", "so</think>\n\n"}) {
    const Marked model(open_block, {end});
    const Json thought = ask(model, {"--think", "on"});
    CHECK(thought["finish"] == "stop");
    CHECK(is_answer(thought["text"]));
    CHECK(thought.contains("reasoning") == (end[0] != '<'));
    const Json whole = ask(model, {});
    CHECK(is_answer(whole["text"]));
    CHECK_FALSE(whole.contains("reasoning"));
  }
  // The model opens the block itself, or does without.
  const std::string closes = "{{ messages[0].content }}{# </think> #}";
  const Json own = ask(Marked(closes, {"<think>why not</think>"}), {"--think", "on"});
  CHECK(own["reasoning"] == "why not");
  CHECK(is_answer(own["text"]));
  const Json without = ask(Marked(closes, {"\"yes\""}), {"--think", "on"});
  CHECK_FALSE(without.contains("reasoning"));
  CHECK(without["text"] == "\"yes\"");
  // A model without such blocks has nothing before its answer.
  CHECK(is_answer(ask(Marked("{{ messages[0].content }}", {"zzz"}), {"--think", "on"})["text"]));
  // A limit that ends the reasoning is reported; there is no answer then.
  const Json cut = ask(Marked(open_block, {"on and on"}), {"--think", "on"});
  CHECK(cut["finish"] == "length");
  CHECK(cut["text"] == "");
  // gpt-oss: the header of the answer is part of the reply.
  const std::string harmony = "{# <|channel|> <|message|> #}<|start|>assistant";
  const Marked oss(harmony, {"<|channel|>analysis<|message|>hm<|end|><|start|>assistant"});
  const Json channels = ask(oss, {});
  CHECK(channels["reasoning"] == "hm");
  CHECK(is_answer(channels["text"]));
}

}  // namespace
}  // namespace lm::test
