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
}
