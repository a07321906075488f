// Which parts of a model work where, as the command line has it. What a device computes is tested
// elsewhere: here there may be none.
#include "engine/core/json.h"
#include "tests/cli/process.h"
#include "tests/reference/tiny_model.h"
#include "tests/support/support.h"

namespace lm::test {
namespace {

Finished ask(std::vector<std::string> options) {
  std::vector<std::string> all = {"-m", tiny_model_path(), "-p", "x",        "-n",
                                  "4",  "--seed",          "1",  "--device", "cpu"};
  all.insert(all.end(), options.begin(), options.end());
  return run_llm(all);
}

TEST_CASE("placement: without a device the answer is the same, and a warning says so") {
  const Finished plain = ask({});
  REQUIRE(plain.status == 0);
  for (const std::vector<std::string>& options : {std::vector<std::string>{"--gpu-layers", "1"},
                                                  {"--gpu-layers", "all"},
                                                  {"--place", "ffn_.*_exps=cpu"}}) {
    const Finished finished = ask(options);
    CHECK(finished.status == 0);
    CHECK(finished.out == plain.out);
    CHECK(finished.err.find("nothing to place") != std::string::npos);
    std::vector<std::string> quiet = options;
    quiet.emplace_back("-q");
    CHECK(ask(quiet).err.empty());
  }
  CHECK(ask({"--gpu-layers", "0"}).err == plain.err);
  CHECK(ask({"--gpu-layers", "auto"}).err == plain.err);
}

TEST_CASE("placement: what can't be is refused") {
  for (const std::vector<std::string>& options : {std::vector<std::string>{"--gpu-layers", "-1"},
                                                  {"--gpu-layers", "some"},
                                                  {"--place", "ffn"},
                                                  {"--place", "=cpu"},
                                                  {"--place", "ffn="},
                                                  {"--place", "ffn_(=cpu"},
                                                  {"--place", "ffn=abacus"}}) {
    CAPTURE(options.back());
    const Finished finished = ask(options);
    CHECK(finished.status == 2);
    CHECK(finished.err.starts_with("llm: "));
  }
}

TEST_CASE("placement: inspect and -v show the bytes on each device") {
  const Finished text = run_llm({"inspect", tiny_model_path(), "--device", "cpu", "--ctx", "64"});
  CHECK(text.status == 0);
  CHECK(text.out.find("placement cpu: the embedding, layers 0-") != std::string::npos);
  CHECK(text.out.find("for 64 tokens\n") != std::string::npos);
  const Finished json =
      run_llm({"inspect", tiny_model_path(), "--gpu-layers", "0", "--device", "cpu", "--json"});
  const Json found = require_ok(parse_json(json.out));
  REQUIRE(found["placement"].size() == 1);
  CHECK(found["placement"][0]["device"] == "cpu");
  CHECK(found["placement"][0]["weight_bytes"] == found["needs"]["weight_bytes"]);
  CHECK_FALSE(require_ok(parse_json(run_llm({"inspect", tiny_model_path(), "--json"}).out))
                  .contains("placement"));
  const Finished large =
      run_llm({"inspect", tiny_model_path(), "--device", "cpu", "--ctx", "16777216", "--json"});
  CHECK(large.status == 0);
  if (const Json none = require_ok(parse_json(large.out)); none.contains("no_placement"))
    CHECK(none["placement"].empty());
  CHECK(ask({"-v"}).err.find("llm: cpu: the embedding, layers 0-") != std::string::npos);
}

TEST_CASE("placement: inspect counts a draft model where it would be") {
  const std::vector<std::string> args = {"inspect", tiny_model_path(), "--device", "cpu", "--ctx",
                                         "64",      "--json"};
  std::vector<std::string> with = args;
  with.insert(with.end(), {"--draft", tiny_model_path()});
  const Json alone = require_ok(parse_json(run_llm(args).out))["placement"][0];
  const Json both = require_ok(parse_json(run_llm(with).out))["placement"][0];
  for (const char* bytes : {"weight_bytes", "kv_bytes"}) {
    CHECK(both[bytes].get<uint64_t>() == 2 * alone[bytes].get<uint64_t>());
  }
  CHECK(both["step_bytes"].get<uint64_t>() > alone["step_bytes"].get<uint64_t>());
  with.pop_back();
  with.emplace_back("/no/such/model.gguf");
  CHECK(run_llm(with).status == 3);
  const Finished text =
      run_llm({"inspect", tiny_model_path(), "--device", "cpu", "--draft", tiny_model_path()});
  CHECK(text.out.find(", the draft model; weights ") != std::string::npos);
}

TEST_CASE("placement: inspect shows a model whose draft lacks a tensor") {
  const std::vector<std::byte> whole = write_tiny_model(tiny_model("llama")).bytes();
  std::string bytes(reinterpret_cast<const char*>(whole.data()), whole.size());
  const size_t name = bytes.find("blk.0.ffn_down");
  REQUIRE(name != std::string::npos);
  bytes[name] = 'c';
  const TempDir folder;
  const std::string draft = write_file(folder, "draft.gguf", bytes);
  std::vector<std::string> args = {"inspect", tiny_model_path(), "--device", "cpu", "--ctx",
                                   "64",      "--draft",         draft};
  const Finished text = run_llm(args);
  INFO(text.err);
  CHECK(text.status == 0);
  CHECK(text.err.empty());
  CHECK(text.out.find("placement none: ") != std::string::npos);
  args.emplace_back("--json");
  const Json found = require_ok(parse_json(run_llm(args).out));
  CHECK(found["placement"].empty());
  CHECK_FALSE(found["no_placement"].get<std::string>().empty());
}

}  // namespace
}  // namespace lm::test
