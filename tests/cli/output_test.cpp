// What leaves the program: the answer alone on stdout, valid JSON, whole characters, and the right
// exit status when nobody reads it or nothing can be written.
#include <algorithm>

#include "engine/core/json.h"
#include "engine/core/utf8.h"
#include "tests/cli/process.h"
#include "tests/reference/tiny_model.h"

using namespace lm;
using namespace lm::test;

namespace {

std::vector<std::string> with_model(std::vector<std::string> args) {
  args.insert(args.end(), {"-m", tiny_model_path(), "-p", "One day", "--ignore-eos"});
  return args;
}

Setup setup_for(std::vector<std::string> args) {
  Setup setup;
  setup.args = std::move(args);
  return setup;
}

}  // namespace

TEST_CASE("output: the same command with the same seed prints the same bytes") {
  const Finished first = run_llm(with_model({"-n", "40", "--seed", "3"}));
  CHECK(first.status == 0);
  CHECK(first.err.empty());
  CHECK_FALSE(first.out.empty());
  CHECK(run_llm(with_model({"-n", "40", "--seed", "3"})).out == first.out);
  CHECK(run_llm(with_model({"-n", "40", "--seed", "3", "-t", "2"})).out == first.out);
  CHECK(run_llm(with_model({"-n", "40", "--seed", "4"})).out != first.out);
}

TEST_CASE("output: a random seed is reported, and gives the same answer again") {
  const Json first = require_ok(parse_json(run_llm(with_model({"-n", "20", "--json"})).out));
  const std::string seed = std::to_string(first["seed"].get<uint64_t>());
  const Finished again = run_llm(with_model({"-n", "20", "--seed", seed}));
  CHECK(again.out == first["text"].get<std::string>());
  const Json other = require_ok(parse_json(run_llm(with_model({"-n", "1", "--json"})).out));
  CHECK(other["seed"] != first["seed"]);
}

TEST_CASE("output: --temp 0 does not depend on the seed") {
  const Finished a = run_llm(with_model({"-n", "20", "--temp", "0", "--seed", "1"}));
  CHECK(a.out == run_llm(with_model({"-n", "20", "--temp", "0", "--seed", "2"})).out);
}

TEST_CASE("output: --json is one object with everything in it") {
  const Finished finished = run_llm(with_model({"-n", "12", "--json", "--seed", "5"}));
  CHECK(finished.status == 0);
  CHECK(std::count(finished.out.begin(), finished.out.end(), '\n') == 1);
  const Json object = require_ok(parse_json(finished.out));
  CHECK(object["text"].is_string());
  CHECK(object["finish"] == "length");
  CHECK(object["generated_tokens"] == 12);
  CHECK(object["prompt_tokens"].get<int>() > 0);
  CHECK(object["seed"] == 5);
  CHECK(object["model"] == tiny_model_path());
  for (const char* key : {"load_seconds", "queue_seconds", "prompt_seconds", "first_token_seconds",
                          "generate_seconds", "seconds_per_token", "read_gbps"}) {
    CHECK(object[key].get<double>() >= 0);
  }
  CHECK(object["text"] == run_llm(with_model({"-n", "12", "--seed", "5"})).out);
}

TEST_CASE("output: --jsonl is one event a line, and its texts are the answer") {
  const Finished finished = run_llm(with_model({"-n", "25", "--jsonl", "--seed", "5"}));
  CHECK(finished.status == 0);
  const std::vector<Json> events = json_lines(finished.out);
  REQUIRE(events.size() >= 3);
  CHECK(events.front()["event"] == "start");
  CHECK(events.back()["event"] == "end");
  CHECK(events.back()["finish"] == "length");
  std::string text;
  int ids = 0;
  for (const Json& event : events) {
    if (event["event"] != "token") continue;
    const auto piece = event["text"].get<std::string>();
    CHECK(utf8::is_valid(piece));
    text += piece;
    ids += event.contains("id") ? 1 : 0;
  }
  CHECK(ids == 25);
  CHECK(text == run_llm(with_model({"-n", "25", "--seed", "5"})).out);
}

TEST_CASE("output: -n 0 is an empty answer") {
  const Finished finished = run_llm(with_model({"-n", "0"}));
  CHECK(finished.status == 0);
  CHECK(finished.out.empty());
}

TEST_CASE("output: without -n the answer ends with the context") {
  const Json object = require_ok(parse_json(run_llm(with_model({"--ctx", "64", "--json"})).out));
  CHECK(object["finish"] == "length");
  CHECK(object["prompt_tokens"].get<int>() + object["generated_tokens"].get<int>() == 64);
}

TEST_CASE("output: --stop ends the answer before the text") {
  const std::string whole = run_llm(with_model({"-n", "60", "--seed", "9"})).out;
  REQUIRE(whole.size() > 20);
  size_t at = 10;  // a stop text in the middle, of whole characters
  while (!utf8::is_valid(whole.substr(at, 4)) || !utf8::is_valid(whole.substr(0, at))) ++at;
  const std::string stop = whole.substr(at, 4);
  const Json object =
      require_ok(parse_json(run_llm(with_model({"-n", "60", "--seed", "9", "--stop",
                                                "never appears", "--stop", stop, "--json"}))
                                .out));
  CHECK(object["finish"] == "stop");
  CHECK(object["text"].get<std::string>() == whole.substr(0, whole.find(stop)));
}

TEST_CASE("output: --logit-bias decides") {
  for (const Json& event :
       json_lines(run_llm(with_model({"-n", "3", "--jsonl", "--logit-bias", "70=1000"})).out)) {
    if (event["event"] == "token" && event.contains("id")) CHECK(event["id"] == 70);
  }
  const Finished outside = run_llm(with_model({"-n", "3", "--logit-bias", "9999999=1"}));
  CHECK(outside.status == 2);
  CHECK(is_one_error(outside));
}

TEST_CASE("output: --stats and -v speak on stderr only") {
  const Finished plain = run_llm(with_model({"-n", "10", "--seed", "2"}));
  const Finished stats = run_llm(with_model({"-n", "10", "--seed", "2", "--stats", "-v"}));
  CHECK(stats.out == plain.out);
  CHECK(stats.err.find("per second") != std::string::npos);
  CHECK(stats.err.find("context") != std::string::npos);
}

TEST_CASE("output: --stats has the speed of --json, in which the first token does not count") {
  const Finished run = run_llm(with_model({"-n", "2", "--ignore-eos", "--stats", "--json"}));
  const double seconds = json_lines(run.out).at(0)["seconds_per_token"].get<double>();
  const size_t at = run.err.find("answer 2 tokens in ");
  REQUIRE(at != std::string::npos);
  const double rate = std::stod(run.err.substr(run.err.find('(', at) + 1));
  CHECK(rate * seconds == doctest::Approx(1).epsilon(0.1));
}

TEST_CASE("output: a system prompt that can't be used is warned about, unless -q") {
  const Finished loud = run_llm(with_model({"-n", "2", "-s", "Be brief."}));
  CHECK(loud.status == 0);
  CHECK(loud.err.starts_with("llm: warning: "));
  CHECK(run_llm(with_model({"-n", "2", "-s", "Be brief.", "-q"})).err.empty());
}

TEST_CASE("output: a reader that is gone ends the program quietly") {
  Setup setup = setup_for({"-m", long_model_path(), "-p", "x", "--ignore-eos"});
  setup.out = Stream::broken_pipe();
  const Finished finished = run_llm(std::move(setup));
  CHECK(finished.status == 141);
  CHECK(finished.err.empty());
}

TEST_CASE("output: a reader that leaves in the middle ends the program quietly") {
  for (const char* form : {"--seed=1", "--jsonl"}) {
    Process process(setup_for({"-m", long_model_path(), "-p", "x", "--ignore-eos", form}));
    while (process.out().size() < 20) process.pump(0.01);
    process.stop_reading();
    const Finished finished = process.finish();
    CHECK(finished.status == 141);
    CHECK(finished.err.empty());
  }
}

TEST_CASE("output: a reader that leaves before a --json answer is noticed while it is made") {
  Process process(setup_for({"-m", long_model_path(), "-p", "x", "--ignore-eos", "--json", "-v"}));
  CHECK(process.wait_for_error("context"));
  process.stop_reading();
  CHECK(process.finish().status == 141);
}

TEST_CASE("output: a full disk is an error of every command") {
  const std::string model = tiny_model_path();
  const std::vector<std::vector<std::string>> commands{with_model({"-n", "5"}),
                                                       with_model({"-n", "5", "--json"}),
                                                       with_model({"-n", "5", "--jsonl"}),
                                                       {"--help"},
                                                       {"--version"},
                                                       {"inspect", model},
                                                       {"inspect", "--json", model},
                                                       {"tokenize", "-m", model, "text"},
                                                       {"logits", "-m", model, "--ids", "1 2"},
                                                       {"devices"}};
  for (const std::vector<std::string>& command : commands) {
    INFO(command.front());
    Setup setup = setup_for(command);
    setup.out = Stream::path("/dev/full");
    const Finished finished = run_llm(std::move(setup));
    CHECK(finished.status == 1);
    CHECK(is_one_error(finished));
    CHECK(finished.err.find("No space left") != std::string::npos);
  }
}

TEST_CASE("output: closed standard streams") {
  Setup no_out = setup_for(with_model({"-n", "5"}));
  no_out.out = Stream::closed();
  CHECK(run_llm(std::move(no_out)).status == 1);
  Setup no_err = setup_for(with_model({"-n", "5", "--stats"}));
  no_err.err = Stream::closed();
  const Finished finished = run_llm(std::move(no_err));
  CHECK(finished.status == 0);
  CHECK(finished.out.find("per second") == std::string::npos);
  Setup nothing = setup_for(with_model({"-n", "5"}));
  nothing.in = nothing.out = nothing.err = Stream::closed();
  CHECK(run_llm(std::move(nothing)).status == 1);
}

TEST_CASE("output: a slow reader gets every byte") {
  Setup setup = setup_for(
      {"-m", tiny_model_path(), "-p", "x", "--ignore-eos", "--jsonl", "--seed", "1", "-n", "200"});
  Process process(std::move(setup));
  for (int i = 0; i < 5; ++i) process.pump(0.002);
  const Finished finished = process.finish();
  CHECK(finished.status == 0);
  CHECK(json_lines(finished.out).back()["event"] == "end");
}

TEST_CASE("output: on a terminal the answer ends its line, in a pipe it is itself") {
  const Finished piped = run_llm(with_model({"-n", "8", "--temp", "0"}));
  Setup setup = setup_for(with_model({"-n", "8", "--temp", "0"}));
  setup.out = setup.err = Stream::terminal();
  const Finished shown = run_llm(std::move(setup));
  CHECK(shown.status == 0);
  CHECK(shown.out.ends_with('\n'));
  CHECK(shown.out.find('\x1b') == std::string::npos);
  CHECK(piped.out.find('\x1b') == std::string::npos);
}

TEST_CASE("output: the file's own sampling defaults count, and options go before them") {
  TinyFile file = write_tiny_model(tiny_model("llama"));
  file.writer.set_f32("general.sampling.temp", 0);
  const TempDir folder;
  const std::string path = (folder.path() / "greedy.gguf").string();
  require_ok(file.save(path));
  const std::vector<std::string> rest{"-p", "One day", "--ignore-eos", "-n", "30"};
  const auto run = [&](std::vector<std::string> args) {
    args.insert(args.end(), rest.begin(), rest.end());
    const Finished finished = run_llm(std::move(args));
    CHECK(finished.status == 0);
    return finished.out;
  };
  const std::string greedy = run({"-m", path, "--seed", "1"});
  CHECK(run({"-m", path, "--seed", "2"}) == greedy);
  CHECK(run({"-m", tiny_model_path(), "--temp", "0"}) == greedy);
  CHECK(run({"-m", path, "--seed", "2", "--temp", "2"}) != greedy);
  file.writer.set_f32("general.sampling.top_p", 7);
  require_ok(file.save(path));
  const Finished damaged = run_llm({"-m", path, "-p", "x"});
  CHECK(damaged.status == 3);
  CHECK(is_one_error(damaged));
}
