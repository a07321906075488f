// llm quantize --method, from the shell: what is said before it begins, a kill half-way, and what
// is refused.
#include <signal.h>

#include <fstream>

#include "engine/core/file.h"
#include "engine/core/json.h"
#include "tests/cli/process.h"

using namespace lm;
using namespace lm::test;

namespace {

// TinyStories in f32, and a text of about 30,000 tokens for calibration.
struct Material {
  TempDir temp;
  std::string model = path("f32.gguf"), text = path("text.txt"), out = path("out.gguf");

  explicit Material(const std::filesystem::path& folder) {
    REQUIRE(run_llm({"convert", folder.string(), "-o", model, "-q"}).status == 0);
    std::ofstream file(text);
    Random random(4);
    const std::string_view words[] = {
        "the ", "little ", "girl ", "saw ",  "a ",    "big ",  "dog ",   "and ",  "said ", "to ",
        "her ", "mom ",    ". ",    "They ", "went ", "home ", "happy ", "with ", "red ",  "ball "};
    for (int i = 0; i < 25000; ++i) file << words[random.below(20)];
  }
  std::string path(const char* name) const { return (temp.path() / name).string(); }
  std::vector<std::string> command(const std::string& method) const {
    return {"quantize", model, out, "--type", "i4g128", "--method", method, "--calib", text};
  }
};

}  // namespace

TEST_CASE("quantize --method: says what it takes, and makes a model that speaks") {
  if (kSanitized) LM_SKIP("minutes under sanitizers: tests/tools has smaller models");
  LM_FIXTURE(folder, "models/TinyStories-656K");
  const Material material(folder);
  for (const std::string method : {"gptq", "awq"}) {
    std::vector<std::string> command = material.command(method);
    command.insert(command.end(), {"--calib-tokens", "4096", "--bits", "3", "--json"});
    const Finished done = run_llm(command);
    INFO(done.err);
    REQUIRE(done.status == 0);
    CHECK(done.err.find(method + ": 2 layers, 4096 tokens in 8 sequences, ") != std::string::npos);
    CHECK(done.err.find("llm: about ") != std::string::npos);
    CHECK(require_ok(parse_json(done.out))["method"] == method);
    CHECK_FALSE(std::filesystem::exists(material.out + ".layers"));
    const Finished told =
        run_llm({"-m", material.out, "-p", "Once upon a time", "-n", "60", "--temp", "0"});
    CHECK(told.status == 0);
    CHECK(told.out.size() > 100);
  }
}

TEST_CASE("quantize --method: killed half-way, the same command goes on to the same bytes") {
  if (kSanitized) LM_SKIP("minutes under sanitizers: tests/tools has smaller models");
  LM_FIXTURE(folder, "models/TinyStories-656K");
  const Material material(folder);
  REQUIRE(run_llm(material.command("gptq")).status == 0);
  const std::string whole = require_ok(read_file(material.out, 1 << 28));
  for (const int signal : {SIGKILL, SIGINT}) {
    std::filesystem::remove(material.out);
    Setup setup;
    setup.args = material.command("gptq");
    Process process(std::move(setup));
    for (int i = 0; i < 2000; ++i) {  // until the first layer is there
      if (std::filesystem::exists(material.out + ".layers/layer-00000.gguf")) break;
      process.pump(0.002);
    }
    process.send(signal);
    const Finished killed = process.finish();
    if (signal == SIGINT && killed.status != 0)
      CHECK(killed.err.find("finished layers are kept in") != std::string::npos);
    const Finished again = run_llm(material.command("gptq"));
    INFO(again.err);
    REQUIRE(again.status == 0);
    CHECK(require_ok(read_file(material.out, 1 << 28)) == whole);
  }
}

TEST_CASE("quantize --method: what is refused") {
  LM_FIXTURE(folder, "models/TinyStories-656K");
  const Material material(folder);
  const std::string empty = material.path("empty.txt");
  std::ofstream(empty).flush();
  const auto command = [&](std::vector<std::string> more) {
    std::vector<std::string> all{"quantize", material.model, material.out, "--type", "q4_0"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  const std::vector<std::pair<std::vector<std::string>, int>> refused{
      {command({"--method", "magic"}), 2},
      {command({"--method", "gptq"}), 2},
      {command({"--bits", "3"}), 2},
      {command({"--symmetric"}), 2},
      {command({"--calib", material.text}), 2},
      {command({"--calib-tokens", "512"}), 2},
      {command({"--work", material.path("x")}), 2},
      {command({"--damp", "0.1"}), 2},
      {command({"--act-order"}), 2},
      {command({"-f", material.text}), 2},
      {command({"--windows", "3"}), 2},
      {command({"--method", "awq", "--calib", material.text, "--act-order"}), 2},
      {command({"--method", "awq", "--calib", material.text, "--damp", "0.1"}), 2},
      {command({"--method", "gptq", "--calib", "/no/such/file"}), 3},
      {command({"--method", "gptq", "--calib", empty}), 2},
      {command({"--method", "awq", "--calib", empty}), 2},
      {command({"--method", "gptq", "--calib", material.text, "--bits", "5"}), 2},
      {command({"--method", "gptq", "--calib", material.text, "--bits", "3"}), 2},
      {command({"--method", "gptq", "--calib", material.text, "--damp", "2"}), 2},
      {command({"--method", "gptq", "--calib", material.text, "--work", "/no/such/folder/x"}), 3}};
  for (const auto& [args, status] : refused) {
    const Finished finished = run_llm(args);
    INFO(finished.err);
    CHECK(finished.status == status);
    CHECK(is_one_error(finished));
    CHECK_FALSE(std::filesystem::exists(material.out));
    CHECK_FALSE(std::filesystem::exists(material.out + ".layers"));
  }
}
