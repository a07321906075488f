// Options that come from elsewhere than the command line, and which of them wins.
#include "engine/core/json.h"
#include "tests/cli/process.h"

using namespace lm;
using namespace lm::test;

namespace {

Finished with_env(std::vector<std::string> args, std::vector<std::string> env) {
  Setup setup;
  setup.args = std::move(args);
  setup.env = std::move(env);
  return run_llm(std::move(setup));
}

// The answer to one prompt as --json has it.
Json answer(std::vector<std::string> args, std::vector<std::string> env) {
  args.insert(args.end(), {"-p", "One day", "--json"});
  env.push_back("LLM_MODEL=" + tiny_model_path());
  const Finished finished = with_env(std::move(args), std::move(env));
  INFO(finished.err);
  REQUIRE(finished.status == 0);
  return require_ok(parse_json(finished.out));
}

}  // namespace

TEST_CASE("settings: options from the environment, after the command line") {
  const Json both = answer({}, {"LLM_SEED=7", "LLM_MAX_TOKENS=3", "LLM_IGNORE_EOS=1"});
  CHECK(both["seed"] == 7);
  CHECK(both["generated_tokens"] == 3);
  CHECK(answer({"--seed", "8", "-n", "2"}, {"LLM_SEED=7", "LLM_MAX_TOKENS=3"})["seed"] == 8);
  CHECK(answer({"-n", "1"}, {"LLM_SEED="})["generated_tokens"] == 1);
}

TEST_CASE("settings: a variable changes what its option changes") {
  const std::vector<std::string> plain{"-n", "12", "--seed", "1"};
  std::vector<std::string> hot = plain;
  hot.insert(hot.end(), {"--temp", "20", "--top-k", "0", "--top-p", "1", "--min-p", "0"});
  const Json from_options = answer(hot, {});
  CHECK(answer(plain, {"LLM_TEMP=20", "LLM_TOP_K=0", "LLM_TOP_P=1", "LLM_MIN_P=0"})["text"] ==
        from_options["text"]);
  CHECK(answer(plain, {})["text"] != from_options["text"]);
}

TEST_CASE("settings: flags in the environment are on or off") {
  const std::vector<std::string> args{"-m", tiny_model_path(), "-p", "x", "-n", "1"};
  for (const char* yes : {"1", "true", "on", "yes"}) {
    CHECK(with_env(args, {std::string("LLM_STATS=") + yes}).err.find("per second") !=
          std::string::npos);
  }
  for (const char* no : {"0", "false", "off", "no", ""}) {
    CHECK(with_env(args, {std::string("LLM_STATS=") + no}).err.empty());
  }
  std::vector<std::string> off = args;
  off.emplace_back("--stats=off");
  CHECK(with_env(off, {"LLM_STATS=1"}).err.empty());
}

TEST_CASE("settings: a variable that is refused is named") {
  for (const char* variable :
       {"LLM_TEMP=hot", "LLM_SEED=-2", "LLM_KV=q4_0", "LLM_THINK=loud", "LLM_STATS=perhaps",
        "LLM_LOGIT_BIAS=5", "LLM_THREADS=0", "LLM_CTX=\x1b[31m"}) {
    const Finished finished = with_env({"-m", tiny_model_path(), "-p", "x"}, {variable});
    const std::string text = variable;
    INFO(text);
    CHECK(finished.status == 2);
    CHECK(is_one_error(finished));
    CHECK(finished.err.find("$" + text.substr(0, text.find('='))) != std::string::npos);
  }
}

TEST_CASE("settings: what belongs to one call is not read from the environment") {
  const Finished finished =
      with_env({"-m", tiny_model_path(), "-p", "x", "-n", "1"},
               {"LLM_PROMPT=other", "LLM_JSON=1", "LLM_FILE=/no/such", "LLM_RAW=perhaps"});
  CHECK(finished.status == 0);
  CHECK(!finished.out.starts_with("{"));
  CHECK(with_env({"tokenize", "-m", tiny_model_path(), "x"}, {"LLM_TEMP=hot"}).status == 0);
}
