// llm bench, as scripts use it.
#include "engine/core/json.h"
#include "tests/cli/process.h"

using namespace lm;
using namespace lm::test;

namespace {

void check_refused(std::vector<std::string> args, int status) {
  std::string shown;
  for (const std::string& arg : args) shown += arg + " ";
  INFO(shown);
  args.insert(args.begin(), "bench");
  const Finished finished = run_llm(std::move(args));
  INFO(finished.err);
  CHECK(finished.status == status);
  CHECK(is_one_error(finished));
}

Json bench(std::vector<std::string> args) {
  args.insert(args.begin(), {"bench", "--json", "-r", "2", "-t", "1"});
  const Finished finished = run_llm(std::move(args));
  INFO(finished.err);
  REQUIRE(finished.status == 0);
  return require_ok(parse_json(finished.out));
}

}  // namespace

TEST_CASE("bench: --json holds what the contract names") {
  const Json found = bench({"--shape", "tiny", "--type", "q4_0", "-p", "8,16", "-n", "4"});
  CHECK(found["model"] == "tiny");
  CHECK(found["type"] == "q4_0");
  CHECK(found["threads"] == 1);
  CHECK(found["device"] == "cpu");
  CHECK(found["isa"].is_string());
  CHECK(found["weight_bytes_per_token"].get<uint64_t>() > 100'000);
  for (const char* limit : {"read_gbps", "int8_gops", "f32_gflops"}) {
    CHECK(found["limits"][limit].get<double>() > 0);
  }
  CHECK(found["load_seconds"].get<double>() >= 0);
  CHECK(found["peak_rss_bytes"].get<uint64_t>() > 0);
  REQUIRE(found["rooms"].size() == 1);
  CHECK(found["rooms"][0]["device"] == "cpu");
  REQUIRE(found["results"].size() == 3);
  const char* names[] = {"pp8", "pp16", "tg4"};
  for (size_t i = 0; i < 3; ++i) {
    const Json& result = found["results"][i];
    CHECK(result["test"] == names[i]);
    const Json& speed = result["tokens_per_second"];
    CHECK(speed["runs"].size() == 2);
    CHECK(speed["min"].get<double>() <= speed["median"].get<double>());
    CHECK(speed["median"].get<double>() <= speed["max"].get<double>());
    CHECK(result["fraction_of_limit"].get<double>() > 0);
  }
}

TEST_CASE("bench: a saved shape is a model like any other") {
  const TempDir folder;
  const std::string path = (folder.path() / "tiny.gguf").string();
  REQUIRE(run_llm({"bench", "--shape", "tiny", "--type", "q8_0", "--save", path}).status == 0);
  const Json found = bench({"-m", path, "-p", "0", "-n", "2", "-d", "5", "-b", "1,2"});
  CHECK(found["model"] == "tiny.gguf");
  CHECK(found["type"] == "q8_0");
  REQUIRE(found["results"].size() == 2);
  CHECK(found["results"][1]["test"] == "tg2x2@d5");
  CHECK(run_llm({"tokenize", "-m", path, "the"}).status == 0);
}

TEST_CASE("bench: the table, and what is known before loading") {
  const Finished table =
      run_llm({"bench", "--shape", "tiny", "-t", "1", "-r", "1", "-p", "4", "-n", "2"});
  CHECK(table.status == 0);
  for (const char* text : {"model ", "machine ", "at best ", "pp4", "tg2", "loaded in"}) {
    CAPTURE(text);
    CHECK(table.out.find(text) != std::string::npos);
  }
  const Finished dry =
      run_llm({"bench", "--shape", "qwen3-30b-a3b", "-t", "1", "--dry-run", "--json"});
  REQUIRE(dry.status == 0);
  const Json found = require_ok(parse_json(dry.out));
  CHECK(found["weight_bytes"].get<uint64_t>() > 15'000'000'000u);
  CHECK(found["weight_bytes_per_token"].get<uint64_t>() < 3'000'000'000u);
  CHECK(found["at_best"]["tg128"].get<double>() > 0);
}

TEST_CASE("bench: users at once, and a prompt beside their streams") {
  const Json found = bench({"--shape", "tiny", "--users", "3", "-p", "400", "-n", "8"});
  CHECK(found["users"] == 3);
  CHECK(found["one_tokens_per_second"].get<double>() > 0);
  CHECK(found["all_tokens_per_second"].get<double>() > 0);
  CHECK(found["ratio"].get<double>() > 0);
  CHECK(found["prompt_tokens"] == 400);
  CHECK(found["chunks"].get<int>() >= 4);
  CHECK(found["longest_gap_seconds"].get<double>() > 0);
  CHECK(found["most_steps_between_tokens"] == 1);
  const Finished text =
      run_llm({"bench", "--shape", "tiny", "-t", "1", "-r", "1", "--users", "2", "-n", "4"});
  CHECK(text.status == 0);
  for (const char* words : {"one user ", "2 users ", "a prompt of 512 tokens"}) {
    CHECK(text.out.find(words) != std::string::npos);
  }
}

TEST_CASE("bench: users have keys for what was measured alone") {
  const Json speeds = bench({"--shape", "tiny", "--users", "2", "-p", "0", "-n", "4"});
  CHECK(speeds.contains("ratio"));
  CHECK_FALSE(speeds.contains("chunks"));
  const Json gaps = bench({"--shape", "tiny", "--users", "2", "-p", "300", "-n", "0"});
  CHECK(gaps["chunks"].get<int>() >= 3);
  CHECK_FALSE(gaps.contains("ratio"));
}

TEST_CASE("bench: what --users would ignore is refused") {
  const std::vector<std::vector<std::string>> useless = {
      {"--dry-run"}, {"--speculation"}, {"--turns", "8"}, {"-b", "2"},
      {"-d", "5"},   {"-p", "512,600"}, {"-n", "8,16"},   {"-p", "0", "-n", "0"}};
  for (std::vector<std::string> args : useless) {
    args.insert(args.begin(), {"--shape", "tiny", "--users", "2"});
    check_refused(args, 2);
  }
  check_refused({"--shape", "tiny", "--dry-run", "--turns", "8"}, 2);
  check_refused({"--shape", "tiny", "--speculation", "--turns", "8"}, 2);
}

TEST_CASE(
    "bench: what --turns and --speculation would ignore is refused, in one line that names both") {
  const auto refused = [](std::vector<std::string> mode, std::vector<std::string> options) {
    std::vector<std::string> args = {"bench", "--shape", "tiny"};
    args.insert(args.end(), mode.begin(), mode.end());
    args.insert(args.end(), options.begin(), options.end());
    const Finished finished = run_llm(std::move(args));
    INFO(finished.err);
    CHECK(finished.status == 2);
    CHECK(is_one_error(finished));
    CHECK(finished.err.find(mode.front()) != std::string::npos);
    CHECK(finished.err.find(options.front()) != std::string::npos);
  };
  for (std::vector<std::string> options :
       {std::vector<std::string>{"-d", "5"}, {"-b", "2"}, {"-p", "8"}}) {
    refused({"--turns", "8"}, options);
    refused({"--speculation"}, options);
  }
  refused({"--turns", "8"}, {"-n", "8"});
  refused({"--turns", "8"}, {"-r", "2"});
  refused({"--speculation"}, {"-n", "0"});
  refused({"--speculation"}, {"-n", "8,16"});
}

TEST_CASE("bench: bad options are refused") {
  check_refused({}, 2);
  check_refused({"--shape", "no-such-model"}, 2);
  check_refused({"--shape", "tiny", "--type", "q9"}, 2);
  check_refused({"--type", "q4_0"}, 2);
  check_refused({"--save", "/tmp/x.gguf"}, 2);
  for (const char* name : {"-p", "-n", "-d", "-b", "-r"}) {
    for (const char* value : {"", "x", "-1", "1.5", "1,,2", "99999999999", ","}) {
      check_refused({"--shape", "tiny", name, value}, 2);
    }
  }
  check_refused({"--shape", "tiny", "-b", "0"}, 2);
  for (const char* users : {"", "x", "0", "1", "-2", "257"}) {
    check_refused({"--shape", "tiny", "--users", users}, 2);
  }
  check_refused({"--shape", "tiny", "-r", "0"}, 2);
  check_refused({"--shape", "tiny", "-p", "0", "-n", "0"}, 2);
  check_refused({"-m", "/no/such/model.gguf"}, 3);
  check_refused({"--shape", "tiny", "--save", "/no/such/folder/x.gguf"}, 3);
}

TEST_CASE("bench: what can't fit is refused with the numbers") {
  const Finished finished = run_llm({"bench", "--json", "--shape", "llama3-8b", "--type", "f32",
                                     "-p", "0", "-d", "1048576", "-b", "256", "-t", "1"});
  CHECK(finished.status == 4);
  CHECK(is_one_error(finished));
  CHECK(finished.err.find("GiB") != std::string::npos);
  CHECK(finished.peak_bytes < (uint64_t{2} << 30));
}
