// The command line itself: what is refused, what is documented, where defaults come from.
#include "engine/core/json.h"
#include "tests/cli/process.h"

using namespace lm;
using namespace lm::test;

namespace {

void check_usage_error(std::vector<std::string> args) {
  std::string shown;
  for (const std::string& arg : args) shown += arg + " ";
  INFO(shown);
  const Finished finished = run_llm(std::move(args));
  CHECK(finished.status == 2);
  CHECK(finished.out.empty());
  CHECK(is_one_error(finished));
}

}  // namespace

TEST_CASE("arguments: bad values are refused before anything is loaded") {
  const std::vector<std::vector<std::string>> bad{{"-n", "abc"},
                                                  {"-n", "-2"},
                                                  {"-n", "1.5"},
                                                  {"-n", "99999999999999999999"},
                                                  {"-n", ""},
                                                  {"--temp", "-1"},
                                                  {"--temp", "nan"},
                                                  {"--temp", "inf"},
                                                  {"--temp", "hot"},
                                                  {"--temp", "1e999"},
                                                  {"--top-k", "-1"},
                                                  {"--top-p", "1.5"},
                                                  {"--top-p", "-0.1"},
                                                  {"--min-p", "2"},
                                                  {"--typical", "-1"},
                                                  {"--repeat-penalty", "0"},
                                                  {"--repeat-last-n", "-2"},
                                                  {"--presence-penalty", "x"},
                                                  {"--frequency-penalty", "1e9"},
                                                  {"--dry-base", "0.5"},
                                                  {"--dry-allowed-length", "-1"},
                                                  {"--xtc-probability", "2"},
                                                  {"--mirostat", "1"},
                                                  {"--mirostat", "3"},
                                                  {"--mirostat-eta", "-1"},
                                                  {"--seed", "x"},
                                                  {"--seed", "-2"},
                                                  {"--logit-bias", "5"},
                                                  {"--logit-bias", "x=1"},
                                                  {"--logit-bias", "5=nan"},
                                                  {"--logit-bias", "-1=2"},
                                                  {"--ctx", "0"},
                                                  {"--ctx", "-5"},
                                                  {"-t", "0"},
                                                  {"-t", "100000"},
                                                  {"--kv", "q4_0"},
                                                  {"--kv", "nonsense"},
                                                  {"--stop", ""}};
  for (const std::vector<std::string>& pair : bad) {
    check_usage_error({"-m", "/no/such/model", "-p", "x", pair[0], pair[1]});
  }
}

TEST_CASE("arguments: a missing value is an error") {
  for (const char* name : {"-p", "-f", "-m", "-n", "--stop", "--temp", "--logit-bias"}) {
    check_usage_error({name});
  }
}

TEST_CASE("arguments: what is unknown is refused by name") {
  check_usage_error({"--no-such-option"});
  check_usage_error({"-m", "x", "-p", "x", "stray"});
  check_usage_error({"no-such-command"});
  check_usage_error({""});
  check_usage_error({"\x1b[31mred"});
  check_usage_error({"inspect", "a", "b"});
  check_usage_error({"help", "no-such-command"});
  check_usage_error({"-m", "x", "-p", "x", "--json=perhaps"});
  CHECK(run_llm({"-p", "x", "--wrong"}).err.find("--wrong") != std::string::npos);
}

TEST_CASE("arguments: what later versions add is not pretended") {
  for (const char* name : {"serve", "pull", "list", "rm"}) {
    check_usage_error({name});
    CHECK(run_llm({"--help"}).out.find(std::string("\n  ") + name + " ") == std::string::npos);
  }
  check_usage_error({"-m", "x", "-p", "x", "--overflow", "1"});
}

TEST_CASE("arguments: --help names every option and command, --version the version") {
  const Finished help = run_llm({"--help"});
  CHECK(help.status == 0);
  CHECK(help.err.empty());
  for (const char* name : {"-p, --prompt",
                           "-f, --file",
                           "--no-stdin",
                           "-s, --system",
                           "--raw",
                           "--prompts",
                           "--resume",
                           "--parallel",
                           "--special",
                           "-n, --max-tokens",
                           "--stop",
                           "--ignore-eos",
                           "-m, --model",
                           "$LLM_MODEL",
                           "--ctx",
                           "--kv",
                           "--device",
                           "--gpu-layers",
                           "--place",
                           "-t, --threads",
                           "--seed",
                           "--temp",
                           "--top-k",
                           "--top-p",
                           "--min-p",
                           "--typical",
                           "--repeat-penalty",
                           "--repeat-last-n",
                           "--presence-penalty",
                           "--frequency-penalty",
                           "--dry-multiplier",
                           "--dry-base",
                           "--dry-allowed-length",
                           "--dry-last-n",
                           "--dry-breaker",
                           "--xtc-probability",
                           "--xtc-threshold",
                           "--mirostat",
                           "--mirostat-tau",
                           "--mirostat-eta",
                           "--logit-bias",
                           "--json",
                           "--jsonl",
                           "--stats",
                           "-q, --quiet",
                           "-v, --verbose",
                           "inspect",
                           "tokenize",
                           "logits",
                           "convert",
                           "devices",
                           "--version",
                           "Exit status"}) {
    INFO(name);
    CHECK(help.out.find(name) != std::string::npos);
  }
  for (const char* command : {"run", "inspect", "tokenize", "logits", "convert", "devices"}) {
    const Finished finished = run_llm({command, "--help"});
    CHECK(finished.status == 0);
    CHECK(finished.out.find(std::string("Usage: llm ") + command) != std::string::npos);
  }
  CHECK(run_llm({"-p", "x", "-h"}).out == help.out);
  CHECK(run_llm({"help"}).out == help.out);
  CHECK(run_llm({"help", "bench"}).out == run_llm({"bench", "--help"}).out);
  CHECK(run_llm({"--version"}).out.starts_with("llm "));
}

TEST_CASE("arguments: a line of --help fits 100 columns") {
  const std::string help = run_llm({"--help"}).out;
  for (size_t start = 0; start < help.size();) {
    const size_t end = help.find('\n', start);
    INFO(help.substr(start, end - start));
    CHECK(end - start <= 100);
    start = end + 1;
  }
}

TEST_CASE("arguments: the model comes from -m, or else from LLM_MODEL") {
  const std::string model = "LLM_MODEL=" + tiny_model_path();
  CHECK(with_env({"-p", "x", "-n", "1"}, {model}).status == 0);
  CHECK(with_env({"-p", "x", "-n", "1", "-m", "/no/such/model"}, {model}).status == 3);
  CHECK(with_env({"-p", "x", "-n", "1", "-m", tiny_model_path()}, {"LLM_MODEL=/no/such/model"})
            .status == 0);
  CHECK(with_env({"tokenize", "x"}, {model}).status == 0);
  const Finished none = run_llm({"-p", "x"});
  CHECK(none.status == 2);
  CHECK(is_one_error(none));
  CHECK(none.err.find("LLM_MODEL") != std::string::npos);
  CHECK(with_env({"-p", "x"}, {"LLM_MODEL="}).status == 2);
}

TEST_CASE("arguments: the last use of an option counts") {
  const Finished finished = run_llm({"-m", tiny_model_path(), "-p", "a", "-p", "One day", "-n", "9",
                                     "-n", "2", "--json", "--seed", "1"});
  const Json object = require_ok(parse_json(finished.out));
  CHECK(object["generated_tokens"] == 2);
}

TEST_CASE("arguments: --json and --jsonl exclude each other") {
  check_usage_error({"-m", tiny_model_path(), "-p", "x", "--json", "--jsonl"});
}

TEST_CASE("arguments: devices and instruction sets that do not exist") {
  check_usage_error({"-m", tiny_model_path(), "-p", "x", "--device", "abacus"});
  const Finished isa =
      with_env({"-m", tiny_model_path(), "-p", "x", "-n", "1"}, {"LLM_CPU=abacus"});
  CHECK(isa.status == 2);
  CHECK(is_one_error(isa));
  CHECK(with_env({"-m", tiny_model_path(), "-p", "x", "-n", "1"}, {"LLM_CPU=scalar"}).status == 0);
  for (const char* variable : {"LLM_CUDA_GRAPHS=maybe", "LLM_CUDA_OVERLAP=1", "LLM_CUDA_AHEAD=yes",
                               "LLM_CUDA_WGMMA=maybe"}) {
    const Finished maybe = with_env({"-m", tiny_model_path(), "-p", "x", "-n", "1"}, {variable});
    CHECK(maybe.status == 2);
    CHECK(is_one_error(maybe));
  }
}

TEST_CASE("arguments: every sampler runs from its option") {
  const std::vector<std::vector<std::string>> samplers{
      {"--top-k", "5"},
      {"--top-p", "0.5"},
      {"--min-p", "0.2"},
      {"--typical", "0.5"},
      {"--repeat-penalty", "1.3", "--repeat-last-n", "-1"},
      {"--presence-penalty", "-0.5"},
      {"--frequency-penalty", "0.5"},
      {"--dry-multiplier", "0.8", "--dry-base", "1.5", "--dry-breaker", "a"},
      {"--xtc-probability", "1", "--xtc-threshold", "0.01"},
      {"--mirostat", "2", "--mirostat-tau", "3", "--mirostat-eta", "0.2"},
      {"--logit-bias", "5=-inf"}};
  for (std::vector<std::string> args : samplers) {
    INFO(args.front());
    args.insert(args.end(),
                {"-m", tiny_model_path(), "-p", "x", "-n", "15", "--ignore-eos", "--seed", "1"});
    const Finished finished = run_llm(args);
    CHECK(finished.status == 0);
    CHECK(finished.err.empty());
    CHECK(run_llm(args).out == finished.out);
  }
}
