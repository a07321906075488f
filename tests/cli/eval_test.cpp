// llm eval, from the shell.
#include <fstream>

#include "engine/core/file.h"
#include "engine/core/json.h"
#include "tests/cli/process.h"
#include "tests/reference/tiny_model.h"

using namespace lm;
using namespace lm::test;

namespace {

std::string long_text() {
  std::string text;
  for (int i = 0; i < 60; ++i)
    text += "Once upon a time, there was a little girl named Lily. She liked to play. ";
  return text;
}

}  // namespace

TEST_CASE("eval: perplexity, and the distance from another model") {
  LM_FIXTURE(folder, "models/TinyStories-656K");
  const TempDir temp;
  const std::string base = (temp.path() / "f32.gguf").string();
  const std::string q8 = (folder / "TinyStories-656K-Q8_0.gguf").string();
  REQUIRE(run_llm({"convert", folder.string(), "-o", base, "-q"}).status == 0);
  const std::vector<std::string> args{"eval", "-m", q8,      "--against", base,
                                      "-f",   "-",  "--ctx", "128",       "--json"};
  const Finished done = run_llm(args, Stream::bytes(long_text()));
  INFO(done.err);
  REQUIRE(done.status == 0);
  CHECK(done.err.empty());
  const Json json = require_ok(parse_json(done.out));
  CHECK(json["perplexity"].get<double>() > 1);
  CHECK(json["tokens"].get<int>() == json["windows"].get<int>() * 63);
  CHECK(json["kl_divergence"]["mean"].get<double>() > 0);
  CHECK(json["kl_divergence"]["mean"].get<double>() < 0.01);
  CHECK(json["same_top"].get<double>() > 0.95);
  CHECK(json["verdict"].get<std::string>().find("original") != std::string::npos);
  const Finished words = run_llm({"eval", "-m", base, "-f", "-", "--ctx", "64", "--windows", "2"},
                                 Stream::bytes(long_text()));
  CHECK(words.status == 0);
  CHECK(words.out.find("perplexity") == 0);
  CHECK(words.out.find("(2 windows of 64)") != std::string::npos);
}

TEST_CASE("eval: what a smaller KV cache costs, against one of 32 bits") {
  const TempDir temp;
  const std::string model = (temp.path() / "tiny.gguf").string();
  require_ok(write_tiny_model(widened(tiny_model("llama"), DType::f32)).save(model));
  const auto divergence = [&](const char* kv) {
    const Finished done = run_llm({"eval", "-m", model, "--against", model, "-f", "-", "--ctx",
                                   "64", "--windows", "4", "--kv", kv, "--json"},
                                  Stream::bytes(long_text()));
    INFO(done.err);
    REQUIRE(done.status == 0);
    const Json json = require_ok(parse_json(done.out));
    CHECK(json["kl_divergence"]["error"].get<double>() >= 0);
    return json["kl_divergence"]["mean"].get<double>();
  };
  CHECK(divergence("f32") == 0);
  const double f16 = divergence("f16"), q8_0 = divergence("q8_0");
  CHECK(f16 > 0);
  CHECK(q8_0 > f16);
  CHECK(q8_0 < 0.05);
}

TEST_CASE("eval: what is refused") {
  const std::string model = tiny_model_path();
  const std::vector<std::pair<std::vector<std::string>, int>> refused{
      {{"eval", "-m", model}, 2},
      {{"eval", "-f", "/dev/null"}, 2},
      {{"eval", "-m", model, "-f", "/no/such/file"}, 3},
      {{"eval", "-m", model, "-f", "/dev/null"}, 2},
      {{"eval", "-m", model, "-f", "/dev/null", "--against", "/no/such/file"}, 3},
      {{"eval", "-m", model, "-f", "/dev/null", "--ctx", "3"}, 2}};
  for (const auto& [args, status] : refused) {
    const Finished finished = run_llm(args);
    INFO(finished.err);
    CHECK(finished.status == status);
    CHECK(is_one_error(finished));
  }
}

TEST_CASE("imatrix: both forms, and what quantize makes of them") {
  LM_FIXTURE(folder, "models/TinyStories-656K");
  const TempDir temp;
  const std::string base = (temp.path() / "f32.gguf").string();
  REQUIRE(run_llm({"convert", folder.string(), "-o", base, "-q"}).status == 0);
  for (const std::string name : {"i.gguf", "i.dat"}) {
    const std::string path = (temp.path() / name).string();
    const Finished made = run_llm({"imatrix", "-m", base, "-f", "-", "-o", path, "--ctx", "128"},
                                  Stream::bytes(long_text()));
    INFO(made.err);
    REQUIRE(made.status == 0);
    CHECK(made.err.find("15 matrices") != std::string::npos);  // 7 a layer, and the output
    const Finished plan = run_llm(
        {"quantize", base, "--type", "q4_0", "--imatrix", path, "--dry-run", "--json", "-q"});
    REQUIRE(plan.status == 0);
    const Json listed = require_ok(parse_json(plan.out));
    for (const Json& tensor : listed["tensors"])
      CHECK(tensor["importance"] == (tensor["type"] == "q4_0"));  // (q8_0 has nothing to weigh)
  }
  // Neither the model nor the text is lost to the output.
  const std::string text = (temp.path() / "text").string();
  std::ofstream(text) << long_text();
  const Finished by_layer =
      run_llm({"quantize", base, "--type", "q4_0", "--method", "gptq", "--calib", text, "--imatrix",
               (temp.path() / "i.dat").string(), "--dry-run", "--json", "-q"});
  REQUIRE(by_layer.status == 0);
  const Json plan = require_ok(parse_json(by_layer.out));
  CHECK(plan["method"] == "gptq");
  for (const Json& tensor : plan["tensors"])  // the method weighs the layers by what it sees
    CHECK(tensor["importance"] == false);
  for (const std::string& over : {base, text}) {
    const auto size = std::filesystem::file_size(over);
    const Finished refused =
        run_llm({"imatrix", "-m", base, "-f", text, "-o", over, "--ctx", "128", "-q"});
    CHECK(refused.status == 2);
    CHECK(is_one_error(refused));
    CHECK(std::filesystem::file_size(over) == size);
  }
  CHECK(run_llm({"imatrix", "-m", base, "-f", "-"}, Stream::bytes("x")).status == 2);
  CHECK(run_llm({"imatrix", "-m", base, "-f", "-", "-o", "/dev/null"}, Stream::bytes("x")).status ==
        2);
}
