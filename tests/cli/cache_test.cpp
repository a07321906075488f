// The KV cache on disk, through the real program: the same answers, sooner.
#include <filesystem>

#include "engine/core/json.h"
#include "tests/cli/process.h"

using namespace lm;
using namespace lm::test;

namespace {

// Long enough for a few blocks.
std::string long_prompt() {
  std::string text;
  for (int i = 0; i < 60; ++i) text += "and then " + std::to_string(i) + " ";
  return text;
}

Json answer(std::vector<std::string> args) {
  args.insert(args.end(),
              {"-m", tiny_model_path(), "-p", long_prompt(), "-n", "8", "--seed", "3", "--json"});
  const Finished finished = run_llm(std::move(args));
  REQUIRE(finished.status == 0);
  CHECK(finished.err.empty());
  return require_ok(parse_json(finished.out));
}

bool holds_blocks(const std::filesystem::path& folder) {
  return std::filesystem::exists(folder / "kv") && !std::filesystem::is_empty(folder / "kv");
}

}  // namespace

TEST_CASE("cache: a later program takes over what an earlier one computed") {
  const TempDir folder;
  const std::string cache = folder.path() / "cache";
  const Json plain = answer({});
  const Json first = answer({"--cache-dir", cache}), second = answer({"--cache-dir", cache});
  CHECK(plain["cached_tokens"] == 0);
  CHECK(first["cached_tokens"] == 0);
  CHECK(second["cached_tokens"].get<int>() > second["prompt_tokens"].get<int>() - 33);
  CHECK(first["text"] == plain["text"]);
  CHECK(second["text"] == plain["text"]);
}

TEST_CASE("cache: off means that nothing is written") {
  const TempDir folder;
  answer({"--cache-dir", (folder.path() / "cache").native(), "--no-disk-cache"});
  CHECK_FALSE(holds_blocks(folder.path() / "cache"));
}

TEST_CASE("cache: a folder that can't be used is a warning, not an end") {
  Setup setup;
  setup.args = {"-m", tiny_model_path(), "-p", "One day", "-n", "4", "--cache-dir", "/dev/null/x"};
  const Finished finished = run_llm(setup);
  CHECK(finished.status == 0);
  CHECK_FALSE(finished.out.empty());
  CHECK(finished.err.find("cache") != std::string::npos);
  setup.args.push_back("-q");
  CHECK(run_llm(setup).err.empty());
  const Finished nowhere = run_llm({"-m", tiny_model_path(), "-p", "One day", "--cache-dir", ""});
  CHECK(nowhere.status == 2);
  CHECK(is_one_error(nowhere));
}

TEST_CASE("overflow: a full context ends the answer, or is shifted, which is said") {
  const std::vector<std::string> args = {"-m",  tiny_model_path(), "-p",    "One day", "-n",
                                         "150", "--ignore-eos",    "--ctx", "64",      "--seed",
                                         "1"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), args.begin(), args.end());
    return run_llm(std::move(more));
  };
  const Json ended = require_ok(parse_json(with({"--json"}).out));
  CHECK(ended["generated_tokens"].get<int>() < 64);
  CHECK(ended["dropped_tokens"] == 0);
  const Finished shifted = with({"--json", "--overflow", "shift"});
  const Json object = require_ok(parse_json(shifted.out));
  CHECK(object["generated_tokens"] == 150);
  CHECK(object["dropped_tokens"].get<int>() > 64);
  CHECK(shifted.err.find("shift") != std::string::npos);
  CHECK(with({"--overflow", "shift", "-q"}).err.empty());
  CHECK(with({"--overflow", "sometimes"}).status == 2);
}

TEST_CASE("overflow: a prompt that is too long is refused, or its end is read") {
  std::vector<std::string> args = {"-m", tiny_model_path(), "-p", long_prompt(), "-n",
                                   "3",  "--ctx",           "64"};
  CHECK(run_llm(args).status == 5);
  args.insert(args.end(), {"--overflow", "shift"});
  const Finished shifted = run_llm(args);
  CHECK(shifted.status == 0);
  CHECK_FALSE(shifted.err.empty());
}

TEST_CASE("bench: the time to the first token of the next turn") {
  const Finished finished =
      run_llm({"bench", "--shape", "tiny", "--turns", "300", "--json", "-t", "1"});
  REQUIRE(finished.status == 0);
  const Json object = require_ok(parse_json(finished.out));
  CHECK(object["history_tokens"] == 300);
  for (const char* key :
       {"first_turn_seconds", "second_turn_seconds", "second_turn_disk_seconds"}) {
    CHECK(object[key].get<double>() > 0);
  }
}
