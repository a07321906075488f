// Where a prompt comes from: options, files, pipes, terminals, and everything that is not a prompt.
#include <fstream>

#include "engine/core/json.h"
#include "engine/core/utf8.h"
#include "tests/cli/process.h"

using namespace lm;
using namespace lm::test;

namespace {

// What the program makes of these arguments: its whole answer under a fixed seed.
Json answer(std::vector<std::string> args, Stream in = Stream::null()) {
  args.insert(args.end(),
              {"-m", tiny_model_path(), "-n", "6", "--seed", "7", "--ignore-eos", "--json"});
  const Finished finished = run_llm(std::move(args), std::move(in));
  INFO(finished.err);
  REQUIRE(finished.status == 0);
  return require_ok(parse_json(finished.out));
}

Finished attempt(std::vector<std::string> args, Stream in = Stream::null()) {
  args.insert(args.end(), {"-m", tiny_model_path(), "-n", "4", "--ignore-eos"});
  return run_llm(std::move(args), std::move(in));
}

bool same(const Json& a, const Json& b) {
  return a["text"] == b["text"] && a["prompt_tokens"] == b["prompt_tokens"];
}

}  // namespace

TEST_CASE("prompt: -p, -f, a pipe, a file, and the word run are the same prompt") {
  const TempDir folder;
  const std::string file = write_file(folder, "prompt.txt", "One day\n");
  const Json expected = answer({"-p", "One day"});
  CHECK(expected["prompt_tokens"].get<int>() > 1);
  CHECK(same(answer({"-f", file}), expected));
  CHECK(same(answer({}, Stream::bytes("One day\n")), expected));
  CHECK(same(answer({}, Stream::bytes("One day")), expected));
  CHECK(same(answer({}, Stream::path(file)), expected));
  CHECK(same(answer({"-p", "-"}, Stream::bytes("One day\n")), expected));
  CHECK(same(answer({"-f", "-"}, Stream::bytes("One day\r\n")), expected));
  CHECK(same(answer({"run", "--prompt=One day"}), expected));
  CHECK(same(answer({"--prompt", "One day", "--raw"}), expected));
}

TEST_CASE("prompt: only one newline at the end is left out, and none of -p") {
  const Json expected = answer({"-p", "a\n"});
  CHECK(same(answer({}, Stream::bytes("a\n\n")), expected));
  CHECK_FALSE(same(answer({"-p", "a"}), expected));
}

TEST_CASE("prompt: stdin follows -p after a blank line") {
  const Json expected = answer({"-p", "Say:\n\nword one"});
  CHECK(same(answer({"-p", "Say:"}, Stream::bytes("word one\n")), expected));
  const TempDir folder;
  const std::string file = write_file(folder, "prompt.txt", "Say:\n");
  CHECK(same(answer({"-f", file}, Stream::bytes("word one")), expected));
  CHECK(same(answer({"-p", "Say:", "-f", write_file(folder, "rest.txt", "word one")}), expected));
}

TEST_CASE("prompt: empty stdin adds nothing") {
  const Json expected = answer({"-p", "Say:"});
  CHECK(same(answer({"-p", "Say:"}, Stream::bytes("")), expected));
  CHECK(same(answer({"-p", "Say:"}, Stream::bytes("\n")), expected));
  CHECK(same(answer({"-p", "Say:"}, Stream::path("/dev/null")), expected));
  CHECK(same(answer({"-p", "Say:"}, Stream::closed()), expected));
}

TEST_CASE("prompt: --no-stdin leaves a pipe alone, and does not wait for it") {
  const Json expected = answer({"-p", "Say:"});
  CHECK(same(answer({"-p", "Say:", "--no-stdin"}, Stream::bytes("not this")), expected));
  CHECK(same(answer({"-p", "Say:", "--no-stdin"}, Stream::held_pipe()), expected));
}

TEST_CASE("prompt: with -p a terminal is not read") {
  Setup setup;
  setup.args = {"-p", "Say:", "-m", tiny_model_path(), "-n", "3"};
  setup.in = Stream::terminal();
  const Finished finished = run_llm(std::move(setup));
  CHECK(finished.status == 0);
  CHECK(finished.err.empty());
}

TEST_CASE("prompt: typed into a terminal, up to Ctrl-D") {
  Setup setup;
  setup.args = {"-p", "-",      "-m", tiny_model_path(), "-n",
                "6",  "--seed", "7",  "--ignore-eos",    "--jsonl"};
  setup.in = Stream::terminal();
  Process process(std::move(setup));
  process.type("Say:\n\x04");
  const Finished finished = process.finish();
  CHECK(finished.status == 0);
  const size_t from = finished.out.find("{\"event\":\"end\"");
  REQUIRE(from != std::string::npos);
  const size_t end = finished.out.find('\n', from);
  const Json last = require_ok(parse_json(finished.out.substr(from, end - from)));
  CHECK(last["prompt_tokens"] == answer({"-p", "Say:"})["prompt_tokens"]);
}

TEST_CASE("prompt: after 2 s without data a terminal is told what is being waited for") {
  Setup setup;
  setup.args = {"-p", "Say:", "-m", tiny_model_path(), "-n", "2"};
  setup.in = Stream::held_pipe();
  setup.err = Stream::terminal();
  Process process(std::move(setup));
  CHECK(process.wait_for_output("--no-stdin"));
}

TEST_CASE("prompt: none, and no terminal to ask, is a wrong command line") {
  for (const Stream& in :
       {Stream::null(), Stream::bytes(""), Stream::bytes("\n"), Stream::closed()}) {
    const Finished finished = attempt({}, in);
    CHECK(finished.status == 2);
    CHECK(finished.out.empty());
    CHECK(is_one_error(finished));
  }
  CHECK(attempt({"-p", "-"}).status == 2);
  CHECK(attempt({"--no-stdin"}, Stream::bytes("text")).status == 2);
}

TEST_CASE("prompt: none on a terminal says that there is no chat yet") {
  Setup setup;
  setup.args = {"-m", tiny_model_path()};
  setup.in = Stream::terminal();
  const Finished finished = run_llm(std::move(setup));
  CHECK(finished.status == 2);
  CHECK(finished.err.find("chat") != std::string::npos);
}

TEST_CASE("prompt: an empty one begins a text") {
  const Json empty = answer({"-p", ""});
  CHECK(empty["prompt_tokens"] == 1);
  CHECK(empty["generated_tokens"] == 6);
  CHECK(same(answer({"--prompt="}), empty));
}

TEST_CASE("prompt: any bytes are accepted, and the answer is UTF-8") {
  Random random(11);
  std::string noise(2000, '\0');
  for (char& c : noise) c = char(random.below(256));
  for (const std::string& text :
       {noise.substr(0, 400), std::string("\xff\xfe\x80"), std::string(50, '\0'),
        std::string("a\xe2\x82"), std::string("\xed\xa0\x80 \xf4\x90\x80\x80")}) {
    const Finished finished = attempt({}, Stream::bytes(text));
    CHECK(finished.status == 0);
    CHECK(finished.err.empty());
    CHECK(utf8::is_valid(finished.out));
  }
  CHECK(attempt({"-p", "\xff\xc0"}).status == 0);
}

TEST_CASE("prompt: what looks like an option is text after -p") {
  CHECK(same(answer({"-p", "--json"}), answer({"--prompt=--json"})));
  CHECK(answer({"-p", "-5 degrees"})["prompt_tokens"].get<int>() > 2);
}

TEST_CASE("prompt: longer than the context is refused, not cut") {
  std::string words;
  for (int i = 0; i < 3000; ++i) words += "and on ";
  const Finished finished = attempt({}, Stream::bytes(words));
  CHECK(finished.status == 5);
  CHECK(finished.out.empty());
  CHECK(is_one_error(finished));
  CHECK(attempt({"--ctx", "64"}, Stream::bytes(words.substr(0, 700))).status == 5);
}

TEST_CASE("prompt: a stdin that never ends is refused in bounded memory") {
  const Finished finished = attempt({}, Stream::path("/dev/zero"));
  CHECK(finished.status == 5);
  CHECK(is_one_error(finished));
  CHECK((kSanitized || finished.peak_bytes < (256u << 20)));
}

TEST_CASE("prompt: files that are not there, or no files") {
  for (const char* path : {"/no/such/file", "/tmp", "/proc/self/mem"}) {
    const Finished finished = attempt({"-f", path});
    CHECK((finished.status == 3 || finished.status == 1));
    CHECK(is_one_error(finished));
  }
  const Finished folder = attempt({}, Stream::path("/tmp"));
  CHECK(folder.status == 3);
  CHECK(is_one_error(folder));
}

TEST_CASE("prompt: - and --no-stdin contradict each other") {
  const Finished finished = attempt({"-p", "-", "--no-stdin"}, Stream::bytes("x"));
  CHECK(finished.status == 2);
  CHECK(is_one_error(finished));
}
