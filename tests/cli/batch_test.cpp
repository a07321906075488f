// --prompts: many prompts, a line of results for each, whatever happens on the way.
#include <signal.h>

#include <algorithm>
#include <fstream>

#include "engine/core/file.h"
#include "engine/core/json.h"
#include "tests/cli/process.h"
#include "tests/reference/tiny_model.h"

namespace lm::test {
namespace {

struct Folder {
  TempDir folder;
  std::string path(std::string_view name) const { return (folder.path() / name).string(); }
  std::string operator()(std::string_view name, std::string_view text) const {
    std::ofstream(path(name), std::ios::binary) << text;
    return path(name);
  }
  std::string read(std::string_view name) const {
    return require_ok(read_file(path(name), 64 << 20));
  }
};

std::vector<std::string> batch(const std::string& prompts, std::vector<std::string> more = {}) {
  std::vector<std::string> args{"-m", tiny_model_path(), "--prompts", prompts, "--seed", "5", "-n",
                                "12"};
  args.insert(args.end(), more.begin(), more.end());
  return args;
}

Setup setup_for(std::vector<std::string> args) {
  Setup setup;
  setup.args = std::move(args);
  return setup;
}

// Prompts of different lengths, whose answers differ in length too.
std::string many_prompts(int n) {
  std::string text;
  for (int i = 0; i < n; ++i) {
    text += R"({"id":)" + std::to_string(i) + R"(,"prompt":"One day number )" + std::to_string(i) +
            R"(","max_tokens":)" + std::to_string(20 + i * 37 % 100) + "}\n";
  }
  return text;
}

size_t count_lines(const std::string& text) {
  return size_t(std::count(text.begin(), text.end(), '\n'));
}

TEST_CASE("batch: every line has its result, in order, as it would be alone") {
  const Folder file;
  const std::string prompts = many_prompts(20);
  const Finished run = run_llm(batch(file("p.jsonl", prompts)));
  CHECK(run.status == 0);
  CHECK(run.err.empty());
  const std::vector<Json> results = json_lines(run.out);
  REQUIRE(results.size() == 20);
  for (size_t i = 0; i < results.size(); ++i) {
    CHECK(results[i]["line"] == i + 1);
    CHECK(results[i]["id"] == i);
    CHECK(results[i]["seed"] == 5 + i);
    CHECK_FALSE(results[i].contains("load_seconds"));
  }
  const Json alone =
      require_ok(parse_json(run_llm({"-m", tiny_model_path(), "-p", "One day number 7", "--seed",
                                     "12", "-n", std::to_string(20 + 7 * 37 % 100), "--json"})
                                .out));
  for (const char* key : {"text", "finish", "prompt_tokens", "generated_tokens", "seed", "model"}) {
    CHECK(results[7][key] == alone[key]);
  }
  for (const char* n : {"1", "3", "64"}) {
    CHECK(run_llm(batch(file.path("p.jsonl"), {"--parallel", n})).out == run.out);
  }
  CHECK(run_llm(batch("-"), Stream::bytes(prompts)).out == run.out);
  CHECK(run_llm(batch(file.path("p.jsonl"), {"--draft", "off", "-t", "2"})).out == run.out);
}

TEST_CASE("batch: --json adds what depends on the machine, --stats a line on stderr") {
  const Folder file;
  const Finished run = run_llm(batch(file("p.jsonl", "\"One day\"\n\"x\""), {"--json", "--stats"}));
  CHECK(run.status == 0);
  CHECK(run.err.starts_with("llm: 2 lines in "));
  for (const char* total : {"tokens read", "from the cache", "generated", "waited", "first token",
                            "GB/s", "peak memory"}) {
    CHECK(run.err.find(total) != std::string::npos);
  }
  CHECK(run.err.find(" at 0.000 GB/s") == std::string::npos);
  const std::vector<Json> results = json_lines(run.out);
  REQUIRE(results.size() == 2);
  for (const Json& result : results) {
    for (const char* key : {"cached_tokens", "drafted_tokens", "accepted_tokens", "load_seconds",
                            "queue_seconds", "prompt_seconds", "generate_seconds", "read_gbps"}) {
      CHECK(result[key].is_number());
    }
  }
}

TEST_CASE("batch: a line says what it wants otherwise") {
  const Folder file;
  const Finished run = run_llm(batch(file("p.jsonl", R"("One day"
{"prompt":"One day","seed":5,"id":"text"}
{"prompt":"One day","seed":77,"temperature":0,"max_tokens":3}
{"prompt":"One day","seed":78,"temp":0.0,"max_tokens":3,"top_k":50,"repeat_last_n":-1}
{"prompt":"One day","logit_bias":{"70":1000},"max_tokens":2}

{"prompt":"x","json_schema":{"enum":["yes","no"]},"max_tokens":100}
{"prompt":"x","grammar":"root ::= \"<\" [0-9]{3} \">\""}
{"messages":[{"role":"user","content":"One "},{"role":"assistant","content":"day"}],"seed":5}
)")));
  CHECK(run.status == 0);
  const std::vector<Json> results = json_lines(run.out);
  REQUIRE(results.size() == 8);
  CHECK(results[1]["text"] == results[0]["text"]);
  CHECK(results[1]["id"] == "text");
  CHECK(results[2]["text"] == results[3]["text"]);
  CHECK(results[2]["generated_tokens"] == 3);
  CHECK(results[5]["line"] == 7);  // a blank line has no result
  CHECK(results[5]["finish"] == "stop");
  CHECK((results[5]["text"] == "\"yes\"" || results[5]["text"] == "\"no\""));
  CHECK(results[6]["text"].get<std::string>().size() == 5);
  CHECK(results[7]["text"] == results[0]["text"]);
  const auto text = results[0]["text"].get<std::string>();
  const Json stopped = json_lines(
      run_llm(batch(file("s.jsonl", dump_json(Json{{"prompt", "One day"},
                                                   {"stop", Json::array({text.substr(0, 1)})}}))))
          .out)[0];
  CHECK(stopped["finish"] == "stop");
  CHECK(stopped["text"] == "");
}

TEST_CASE("batch: a bad line is an error on that line, and the status says so") {
  const Folder file;
  const std::vector<std::pair<const char*, const char*>> lines{
      {"nonsense", "expected JSON"},
      {"[1]", "expected a JSON object"},
      {"{}", "expected either \\\"prompt\\\" or"},
      {R"({"prompt":"x","messages":[]})", "found both"},
      {R"({"prompt":5})", "to be a text"},
      {R"({"messages":[]})", "not empty"},
      {R"({"messages":[{"content":"x"}]})", "with a \\\"role\\\""},
      {R"({"messages":[{"role":"user"}]})", "content"},
      {R"({"prompt":"x","tempreature":1})", "tempreature"},
      {R"({"prompt":"x","temperature":"hot"})", "temperature"},
      {R"({"prompt":"x","temperature":-1})", "from 0 to 100"},
      {R"({"prompt":"x","top_k":1.5})", "whole number"},
      {R"({"prompt":"x","max_tokens":-2})", "max_tokens"},
      {R"({"prompt":"x","max_tokens":99999999999999999999})", "max_tokens"},
      {R"({"prompt":"x","seed":-1})", "seed"},
      {R"({"prompt":"x","stop":[""]})", "stop"},
      {R"({"prompt":"x","id":[1]})", "id"},
      {R"({"prompt":"x","logit_bias":{"99999999":1}})", "logit_bias"},
      {R"({"prompt":"x","json_schema":{"not":{}}})", "json_schema"},
      {R"({"prompt":"x","json_schema":7})", "JSON schema"},
      {R"({"prompt":"x","grammar":"root ::= ("})", "grammar"},
      {R"({"prompt":"x","grammar":"root ::= \"a\"","json_schema":true})", "found both"},
      {R"({"prompt":"x","tools":[]})", "chat template"},
      {R"({"prompt":"x","system":1})", "system"},
  };
  std::string prompts;
  for (const auto& [line, says] : lines) prompts += std::string(line) + "\n\"fine\"\n";
  const Finished run = run_llm(batch(file("p.jsonl", prompts), {"-n", "1"}));
  CHECK(run.status == 1);
  CHECK(is_one_error(run));
  CHECK(run.err.find(std::to_string(lines.size()) + " of " + std::to_string(2 * lines.size())) !=
        std::string::npos);
  const std::vector<Json> results = json_lines(run.out);
  REQUIRE(results.size() == 2 * lines.size());
  for (size_t i = 0; i < lines.size(); ++i) {
    INFO(lines[i].first);
    const Json& bad = results[2 * i];
    CHECK(bad["finish"] == "error");
    CHECK(dump_json(bad["error"]).find(lines[i].second) != std::string::npos);
    CHECK_FALSE(bad.contains("text"));
    CHECK(results[2 * i + 1]["finish"] == "length");
  }
  const std::string words(8000, 'a');
  const Json too_long = json_lines(run_llm(batch(file("l.jsonl", "\"" + words + "\"\n"))).out)[0];
  CHECK(too_long["error"].get<std::string>().find("context") != std::string::npos);
}

TEST_CASE("batch: a chat template gets messages, the system prompt and tools") {
  const Folder file;
  TinyFile model = write_tiny_model(tiny_model("llama"));
  model.writer.set_str("tokenizer.chat_template",
                       "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
                       "{{ tools[0].name if tools else '' }}");
  require_ok(model.save(file.path("chat.gguf")));
  const auto tokens = [&](std::string_view line, std::vector<std::string> more) {
    more.insert(more.end(), {"-m", file.path("chat.gguf")});
    const Finished run = run_llm(batch(file("p.jsonl", line), std::move(more)));
    INFO(run.out);
    REQUIRE(run.status == 0);
    return json_lines(run.out)[0]["prompt_tokens"].get<int>();
  };
  const int plain = tokens(R"({"prompt":"x"})", {});
  const int with_system = tokens(R"({"prompt":"x","system":"be brief"})", {});
  CHECK(with_system > plain);
  CHECK(tokens("\"x\"", {"-s", "be brief"}) == with_system);
  CHECK(tokens(R"({"prompt":"x","system":"be brief"})", {"-s", "not this one"}) == with_system);
  CHECK(
      tokens(
          R"({"messages":[{"role":"system","content":"be brief"},{"role":"user","content":"x"}]})",
          {"-s", "not this one"}) == with_system);
  CHECK(tokens(R"({"prompt":"x","tools":[{"name":"a_long_name"}]})", {}) > plain);
}

TEST_CASE("batch: kill -9 half-way, and going on gives the bytes of one run") {
  const Folder file;
  const std::string prompts = file("p.jsonl", many_prompts(40));
  const std::string expected = run_llm(batch(prompts)).out;
  REQUIRE(count_lines(expected) == 40);
  for (const size_t killed_after : {size_t{1}, size_t{9}}) {
    const std::string out = file("out.jsonl", "");
    Process process(setup_for(batch(prompts, {"--resume", out, "--parallel", "2"})));
    while (count_lines(file.read("out.jsonl")) < killed_after) process.pump(0.001);
    process.send(SIGKILL);
    process.finish();
    const std::string left = file.read("out.jsonl");
    CHECK(expected.starts_with(left));
    CHECK(run_llm(batch(prompts, {"--resume", out})).status == 0);
    CHECK(file.read("out.jsonl") == expected);
  }
  // A last line that was torn off is written again, wherever that was.
  for (const size_t torn : {size_t{0}, size_t{1}, size_t{40}, expected.find('\n'),
                            expected.find('\n') + 1, expected.size() / 2, expected.size() - 1}) {
    const std::string out = file("out.jsonl", expected.substr(0, torn));
    const Finished run = run_llm(batch(prompts, {"--resume", out}));
    CHECK(run.status == 0);
    CHECK(run.out.empty());
    CHECK(file.read("out.jsonl") == expected);
  }
}

TEST_CASE("batch: where all is answered, nothing is loaded; failures still count") {
  const Folder file;
  const std::string prompts = file("p.jsonl", "\"x\"\nbad\n\"y\"");
  const std::string out = file.path("out.jsonl");
  CHECK(run_llm(batch(prompts, {"--resume", out})).status == 1);
  const std::string written = file.read("out.jsonl");
  const Finished again = run_llm(batch(prompts, {"--resume", out, "-m", "/no/such/model"}));
  CHECK(again.status == 1);
  CHECK(again.err.find("1 of 3 without one, the first on line 2") != std::string::npos);
  CHECK(file.read("out.jsonl") == written);
}

TEST_CASE("batch: a file of other results is refused and left alone") {
  const Folder file;
  const std::string prompts = file("p.jsonl", "\"a\"\n\"b\"\n");
  const std::string others = run_llm(batch(file("q.jsonl", "\"a\"\n\"c\"\n"))).out;
  const std::string more = run_llm(batch(file("r.jsonl", "\"a\"\n\"b\"\n\"c\"\n"))).out;
  for (const std::string& content :
       {others, more, std::string("important notes\n"), std::string("{}\n"), std::string("\n"),
        std::string("important notes"), std::string("\"a\""), std::string("{\"prompt\":\"a\"}")}) {
    const std::string out = file("out.jsonl", content);
    const Finished run = run_llm(batch(prompts, {"--resume", out}));
    CHECK(run.status == 3);
    CHECK(is_one_error(run));
    CHECK(file.read("out.jsonl") == content);
  }
  CHECK(run_llm(batch(prompts, {"--resume", "/no/such/folder/x"})).status == 3);
  CHECK(run_llm(batch(prompts, {"--resume", "/dev/null"})).status == 3);
}

TEST_CASE("batch: two runs don't write to one file") {
  const Folder file;
  Fifo fifo(file.path("fifo"));
  fifo.open();
  Process first(setup_for(batch(file.path("fifo"), {"--resume", file.path("out.jsonl")})));
  fifo.write("\"x\"\n");
  while (!std::filesystem::exists(file.path("out.jsonl")) || file.read("out.jsonl").empty()) {
    first.pump(0.001);
  }
  const Finished second =
      run_llm(batch(file("p.jsonl", "\"x\""), {"--resume", file.path("out.jsonl")}));
  CHECK(second.status == 1);
  CHECK(is_one_error(second));
  fifo.end();
  CHECK(first.finish().status == 0);
}

TEST_CASE("batch: a pipe is answered as it comes") {
  const Folder file;
  Fifo fifo(file.path("fifo"));
  fifo.open();
  Process process(setup_for(batch(file.path("fifo"))));
  fifo.write("\"x\"\n");
  CHECK(process.wait_for_output("\"line\":1,"));
  fifo.write("\"y\"\n\"z");
  CHECK(process.wait_for_output("\"line\":2,"));
  CHECK(process.out().find("\"line\":3,") == std::string::npos);
  fifo.write("\"");
  fifo.end();
  const Finished finished = process.finish();
  CHECK(finished.status == 0);
  CHECK(json_lines(finished.out).size() == 3);
}

TEST_CASE("batch: a long file and a long line take no more memory than a short one") {
  const Folder file;
  std::string bad;
  for (int i = 0; i < 20'000; ++i)
    bad += "not JSON at all, and that " + std::to_string(i) + " times\n";
  const auto peak = [&](const std::string& prompts) {
    Setup setup = setup_for(batch(prompts));
    setup.out = Stream::path("/dev/null");
    const Finished run = run_llm(std::move(setup));
    CHECK(run.status == 1);
    return run.peak_bytes;
  };
  const uint64_t small = peak(file("short.jsonl", "bad\n"));
  CHECK((kSanitized || peak(file("long.jsonl", bad)) < small + (4 << 20)));
  const std::string line = "\"" + std::string(24 << 20, 'x') + "\"\n\"x\"\n";
  const Finished run = run_llm(batch(file("line.jsonl", line)));
  CHECK(run.status == 1);
  CHECK((kSanitized || run.peak_bytes < small + (64 << 20)));
  REQUIRE(json_lines(run.out).size() == 2);
  CHECK(json_lines(run.out)[0]["error"].get<std::string>().find("16 MiB") != std::string::npos);
}

TEST_CASE("batch: signals end it with whole lines, and it can go on") {
  const Folder file;
  const std::string prompts =
      file("p.jsonl", "\"x\"\n{\"prompt\":\"x\",\"max_tokens\":90000}\n\"y\"\n");
  for (const auto& [signal_number, status] : {std::pair(SIGINT, 130), std::pair(SIGTERM, 143)}) {
    const std::string out = file("out.jsonl", "");
    Process process(setup_for(batch(
        prompts, {"-m", long_model_path(), "--ignore-eos", "--parallel", "2", "--resume", out})));
    while (file.read("out.jsonl").empty()) process.pump(0.001);
    process.send(signal_number);
    CHECK(process.finish().status == status);
    CHECK(json_lines(file.read("out.jsonl")).size() == 1);
  }
}

TEST_CASE("batch: nobody reads, or the disk is full") {
  const Folder file;
  const std::string prompts = file("p.jsonl", many_prompts(30));
  Setup gone = setup_for(batch(prompts));
  gone.out = Stream::broken_pipe();
  const Finished quiet = run_llm(std::move(gone));
  CHECK(quiet.status == 141);
  CHECK(quiet.err.empty());
  Setup full = setup_for(batch(prompts));
  full.out = Stream::path("/dev/full");
  const Finished refused = run_llm(std::move(full));
  CHECK(refused.status == 1);
  CHECK(is_one_error(refused));
  // A file that may not grow keeps whole lines.
  Setup limited = setup_for(batch(prompts, {"--resume", file.path("out.jsonl")}));
  limited.file_limit = 3000;
  const Finished stopped = run_llm(std::move(limited));
  CHECK(stopped.status == 1);
  CHECK(is_one_error(stopped));
  CHECK(file.read("out.jsonl").ends_with("\n"));
  CHECK(run_llm(batch(prompts, {"--resume", file.path("out.jsonl")})).status == 0);
  CHECK(file.read("out.jsonl") == run_llm(batch(prompts)).out);
}

TEST_CASE("batch: what does not go together") {
  const Folder file;
  const std::string prompts = file("p.jsonl", "\"x\"\n");
  const std::vector<std::vector<std::string>> wrong{
      {"-p", "x"}, {"-f", prompts}, {"--jsonl"}, {"-c"}, {"--parallel", "0"}, {"--parallel", "x"}};
  for (const std::vector<std::string>& more : wrong) {
    INFO(more[0]);
    const Finished run = run_llm(batch(prompts, more));
    CHECK(run.status == 2);
    CHECK(is_one_error(run));
  }
  CHECK(run_llm(batch("-", {"--no-stdin"})).status == 2);
  CHECK(run_llm({"-m", tiny_model_path(), "-p", "x", "--resume", "y"}).status == 2);
  CHECK(run_llm(batch("/no/such/file")).status == 3);
  CHECK(run_llm(batch("/tmp")).status == 3);
  CHECK(run_llm(batch(prompts, {"-m", "/no/such/model"})).status == 3);
  const Finished nothing = run_llm(batch(file("e.jsonl", "\n\n")));
  CHECK(nothing.status == 0);
  CHECK(nothing.out.empty());
}

}  // namespace
}  // namespace lm::test
