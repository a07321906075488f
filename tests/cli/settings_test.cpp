// Options that come from elsewhere than the command line, and which of them wins.
#include <filesystem>
#include <fstream>

#include "engine/core/json.h"
#include "tests/cli/process.h"

using namespace lm;
using namespace lm::test;
using namespace std::string_view_literals;

namespace {

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
  const Json both = answer({}, {"LLM_SEED=7", "LLM_MAX_TOKENS=3"});
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

namespace {

// A home with a configuration file in it.
class Home {
 public:
  explicit Home(const std::string& config, const char* below = ".config/llm") {
    std::filesystem::create_directories(folder_.path() / below);
    path_ = (folder_.path() / below / "config.toml").string();
    std::ofstream(path_, std::ios::binary) << config;
  }
  std::vector<std::string> env() const { return {"HOME=" + folder_.path().string()}; }
  std::string folder() const { return folder_.path().string(); }
  const std::string& path() const { return path_; }

 private:
  TempDir folder_;
  std::string path_;
};

Finished with_config(const std::string& config, std::vector<std::string> args) {
  const Home home(config);
  return with_env(std::move(args), home.env());
}

void check_refused(const std::string& config, int line, std::string_view said) {
  const Home home(config);
  const Finished finished = with_env({"-m", tiny_model_path(), "-p", "x"}, home.env());
  INFO(config);
  INFO(finished.err);
  CHECK(finished.status == 2);
  CHECK(finished.out.empty());
  CHECK(is_one_error(finished));
  CHECK(finished.err.find(home.path() + ":" + std::to_string(line) + ": ") != std::string::npos);
  CHECK(finished.err.find(said) != std::string::npos);
}

}  // namespace

TEST_CASE("config: command line, environment, the command's table, the file") {
  const Home home("seed = 1\nmax-tokens = 4\n[run]\nseed = 2\n[chat]\nseed = 9\n");
  const auto seed = [&](std::vector<std::string> args, std::vector<std::string> env) {
    for (const std::string& entry : home.env()) env.push_back(entry);
    return answer(std::move(args), std::move(env))["seed"].get<int>();
  };
  CHECK(seed({}, {}) == 2);
  CHECK(seed({}, {"LLM_SEED=3"}) == 3);
  CHECK(seed({"--seed", "4"}, {"LLM_SEED=3"}) == 4);
  CHECK(seed({"--config", "none", "-n", "1", "--seed", "5"}, {}) == 5);
  CHECK(answer({}, home.env())["generated_tokens"] == 4);
  CHECK(with_config("model = '" + tiny_model_path() + "'\n", {"tokenize", "x"}).status == 0);
}

TEST_CASE("config: llm alone reads the table of what it does") {
  const Home home("[chat]\nmodel = '/no/chat'\n[run]\nmodel = '/no/run'\n");
  Setup setup;
  setup.env = home.env();
  setup.in = setup.out = Stream::terminal();
  CHECK(run_llm(setup).err.find("/no/chat") != std::string::npos);
  setup.args = {"-p", "x"};
  CHECK(run_llm(setup).err.find("/no/run") != std::string::npos);
}

TEST_CASE("config: where the file is") {
  const Home usual("max-tokens = 1\n"), other("max-tokens = 2\n", "llm"), third("max-tokens = 3\n");
  const auto tokens = [](std::vector<std::string> args, std::vector<std::string> env) {
    return answer(std::move(args), std::move(env))["generated_tokens"].get<int>();
  };
  const std::string home = usual.env().front();
  CHECK(tokens({}, {home}) == 1);
  CHECK(tokens({}, {home, "XDG_CONFIG_HOME=" + other.folder()}) == 2);
  CHECK(tokens({}, {home, "XDG_CONFIG_HOME=relative/path"}) == 1);
  CHECK(tokens({"--config", third.path()}, {home}) == 3);
  CHECK(tokens({}, {home, "LLM_CONFIG=" + third.path()}) == 3);
  CHECK(tokens({"--config", other.path()}, {home, "LLM_CONFIG=" + third.path()}) == 2);
  const Finished missing =
      with_env({"-m", tiny_model_path(), "-p", "x", "--config", "/no/such.toml"}, {});
  CHECK(missing.status == 3);
  CHECK(is_one_error(missing));
  CHECK(with_env({"-m", tiny_model_path(), "-p", "x", "--config", "/"}, {}).status == 3);
}

TEST_CASE("config: all that a file may say") {
  const Home home(
      "\xEF\xBB\xBF# settings\r\n"
      "temp = 0.0  # greedy\r\n"
      "\n"
      "\"max-tokens\" = +1_0\n"
      "run.stats = false\n"
      "stop = ['never \\ seen', \"\\u00e4\\n\\\"\",  # a comment\n"
      "  \"\"\"\nthree\"quotes\\\n   go on\"\"\",\n]\n"
      "logit-bias = [\n]\n"
      "kv = \"f32\"\n"
      "verbose = true\n"
      "[ run ]\n"
      "system = '''\nYou are\n'terse'.'''\n"
      "cache-dir = \"~/cache\"\n");
  Setup setup;
  setup.args = {"-m", tiny_model_path(), "-p", "One day"};
  setup.env = home.env();
  const Finished finished = run_llm(setup);
  INFO(finished.err);
  CHECK(finished.status == 0);
  CHECK(finished.err.find("KV cache f32") != std::string::npos);
  CHECK(std::filesystem::is_directory(home.folder() + "/cache"));
  setup.args.emplace_back("--verbose=off");
  CHECK(run_llm(setup).err.find("KV cache") == std::string::npos);
}

TEST_CASE("config: damage is one line with the file and the line") {
  check_refused("temp 0.5\n", 1, "expected \"=\"");
  check_refused("\n\ntemp =\n", 3, "expected a value");
  check_refused("temp = 0.5 0.6\n", 1, "expected the end of the line");
  check_refused("temp = 0.5\ntemp = 0.6\n", 2, "once");
  check_refused("[run]\n[chat]\n[run]\n", 3, "once");
  check_refused("[run\n", 1, "expected \"]\"");
  check_refused("[[run]]\n", 1, "lists of tables");
  check_refused("= 1\n", 1, "expected a name");
  check_refused("temp = hot\n", 1, "expected a value");
  check_refused("temp = 2026-01-01\n", 1, "expected a value");
  check_refused("temp = {a = 1}\n", 1, "expected a value");
  check_refused("system = \"open\n", 1, "at the end of a text");
  check_refused("system = \"\"\"open\n\n", 1, "at the end of a text");
  check_refused("a = 1\nsystem = \"\\q\"\n", 2, "escape");
  check_refused("system = \"\\ud800\"\n", 1, "escape");
  check_refused("system = \"\\u12\"\n", 1, "escape");
  check_refused("system = 'a\x01'\n", 1, "control character");
  check_refused("stop = ['a' 'b']\n", 1, "in a list");
  check_refused("stop = ['a',\n", 2, "expected a value");
  check_refused("stop = [['a']]\n", 1, "expected a value");
  check_refused("temp = 0.5\n# \xff\n", 2, "UTF-8");
  check_refused(std::string("temp\0= 1\n", 9), 1, "expected \"=\"");
}

TEST_CASE("config: keys and values that no option takes are named") {
  check_refused("temp = 0.5\ntemperature = 1\n", 2, "temperature");
  check_refused("top_k = 5\n", 1, "top_k");
  check_refused("[chatt]\n", 1, "[chatt]");
  check_refused("[tokenize]\ntemp = 1\n", 2, "llm tokenize");
  check_refused("prompt = 'x'\n", 1, "--prompt");
  check_refused("json = true\n", 1, "--json");
  check_refused("config = 'other'\n", 1, "--config");
  check_refused("[run]\ntemp = -1\n", 2, "temp: expected a number from 0");
  check_refused("kv = 'q4_0'\n", 1, "expected f32, f16 or q8_0");
  for (const char* number : {"1_", "1__0", "_1", "1_.5", "+_1", "--1", "+-1", "++1"}) {
    check_refused(std::string("ctx = ") + number + "\n", 1, "expected a value");
  }
  check_refused("temp = [1]\n", 1, "found a list");
  check_refused("system = true\n", 1, "found true");
  check_refused("stats = 'perhaps'\n", 1, "expected on or off");
  check_refused("stop = ''\n", 1, "stop");
}

TEST_CASE("config: noise is refused and never crashes") {
  Random random(5);
  const std::string seed_text =
      "temp = 0.5\nstop = [\"a\\u00e4\", 'b']\n[run]\nsystem = \"\"\"\nx\\\n y\"\"\"\n";
  for (int i = 0; i < 60; ++i) {
    std::string text = seed_text;
    for (int change = 0; change < 3; ++change) {
      constexpr std::string_view kBytes = "\"'[]=\\#\n\0ua.\xC3"sv;
      text[random.below(text.size())] = kBytes[random.below(kBytes.size())];
    }
    const Finished finished = with_config(text, {"-p", "x", "-m", "/no/such/model"});
    INFO(text);
    CHECK((finished.status == 2 || finished.status == 3));
    CHECK(is_one_error(finished));
  }
}

TEST_CASE("config: what measures takes only what does not change its numbers") {
  const std::vector<std::string> logits{"logits", "-m", tiny_model_path(), "--ids", "1 2 3"};
  const Finished plain = run_llm(logits),
                 configured = with_config("ctx = 1\nkv = 'q8_0'\n", logits);
  CHECK(configured.status == 0);
  CHECK(configured.out == plain.out);
}

TEST_CASE("config: commands that have no settings don't read it") {
  CHECK(with_config("damage", {"devices"}).status == 0);
  CHECK(with_config("damage", {"--help"}).status == 0);
  CHECK(with_config("damage", {"--version"}).status == 0);
  CHECK(with_config("damage", {"tokenize", "-m", tiny_model_path(), "x"}).status == 2);
}

TEST_CASE("arguments: what follows -- is no option") {
  const std::string model = tiny_model_path();
  const Finished dashed = run_llm({"tokenize", "-m", model, "--no-bos", "--", "--json"});
  CHECK(dashed.status == 0);
  CHECK(dashed.out ==
        run_llm({"tokenize", "-m", model, "--no-bos", "-"}, Stream::bytes("--json")).out);
  CHECK(run_llm({"tokenize", "-m", model, "--no-bos", "--", "--stop="}).status == 0);
  CHECK(run_llm({"tokenize", "-m", model, "--", "--"}).status == 0);
  CHECK(run_llm({"tokenize", "-m", model, "--", "a", "b"}).status == 2);
  CHECK(run_llm({"-m", model, "-p", "--", "-n", "1"}).status == 0);  // a prompt of two dashes
  CHECK(run_llm({"-m", model, "-p", "x", "-n", "1", "--"}).status == 0);
  const Finished stray = run_llm({"-m", model, "-p", "x", "--", "-n"});
  CHECK(stray.status == 2);
  CHECK(is_one_error(stray));
}
