// llm quantize, from the shell: a smaller model that speaks, what is refused, and a stop half-way.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "engine/core/json.h"
#include "tests/cli/process.h"

using namespace lm;
using namespace lm::test;

namespace {

size_t files_in(const std::filesystem::path& folder) {
  return size_t(std::distance(std::filesystem::directory_iterator(folder), {}));
}

bool has_nameless_files(const std::filesystem::path& folder) {
  const int fd = open(folder.c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
  if (fd < 0) return false;
  close(fd);
  return true;
}

}  // namespace

TEST_CASE("quantize: a smaller model that speaks") {
  LM_FIXTURE(folder, "models/TinyStories-656K");
  const TempDir temp;
  const std::string whole = (temp.path() / "f32.gguf").string();
  const std::string small = (temp.path() / "small.gguf").string();
  REQUIRE(run_llm({"convert", folder.string(), "-o", whole}).status == 0);
  const Finished plan = run_llm({"quantize", whole, "--type", "q4_K_M", "--dry-run"});
  CHECK(plan.status == 0);
  CHECK(plan.out.find("blk.0.ffn_down.weight") != std::string::npos);
  CHECK(plan.err.find("bits a weight") != std::string::npos);
  CHECK(files_in(temp.path()) == 1);
  const Finished done = run_llm({"quantize", whole, small, "--type", "q5_0", "--tensor-type",
                                 "attn_v=q8_0", "--tensor-type=ffn_up=f16", "--json"});
  INFO(done.err);
  REQUIRE(done.status == 0);
  const Json report = require_ok(parse_json(done.out));
  CHECK(report["type"] == "q5_0");
  CHECK(report["bits_per_weight"].get<double>() < 12);
  CHECK(report["tensors"].size() == 20);
  CHECK(std::filesystem::file_size(small) < std::filesystem::file_size(whole) / 2);
  const Finished told = run_llm({"-m", small, "-p", "Once upon a time", "-n", "60", "--temp", "0"});
  CHECK(told.status == 0);
  CHECK(told.out.size() > 100);
}

TEST_CASE("quantize: --report measures what was lost and says it in words") {
  LM_FIXTURE(folder, "models/TinyStories-656K");
  const TempDir temp;
  const std::string whole = (temp.path() / "f32.gguf").string();
  const std::string small = (temp.path() / "small.gguf").string();
  REQUIRE(run_llm({"convert", folder.string(), "-o", whole, "-q"}).status == 0);
  std::string text;
  for (int i = 0; i < 60; ++i) text += "Once upon a time, there was a little girl named Lily. ";
  std::vector<std::string> args{"quantize", whole, small, "--type", "q8_0",
                                "--report", "-f",  "-",   "--ctx",  "128"};
  const Finished told = run_llm(args, Stream::bytes(text));
  INFO(told.err);
  REQUIRE(told.status == 0);
  CHECK(told.out.find("KL divergence, mean") != std::string::npos);
  CHECK(told.out.find("verdict: ") != std::string::npos);
  args.push_back("--json");
  args[4] = "q2_K";  // iq4_nl here
  const Json json = require_ok(parse_json(run_llm(args, Stream::bytes(text)).out));
  CHECK(json["report"]["kl_divergence"]["mean"].get<double>() > 0.001);
  CHECK(json["report"]["verdict"].is_string());
}

TEST_CASE("quantize: what is refused") {
  const TempDir temp;
  const std::string out = (temp.path() / "out.gguf").string(), in = tiny_model_path();
  const std::vector<std::pair<std::vector<std::string>, int>> refused{
      {{"quantize"}, 2},
      {{"quantize", in, "--type", "q8_0"}, 2},
      {{"quantize", in, out}, 2},
      {{"quantize", in, out, "--type", "q99"}, 2},
      {{"quantize", in, out, "--type", "q8_0", "--tensor-type", "x"}, 2},
      {{"quantize", in, out, "--type", "q8_0", "--tensor-type", "(=q8_0"}, 2},
      {{"quantize", in, out, "--type", "q8_0", "--imatrix", "/no/such/file"}, 3},
      {{"quantize", in, out, "--type", "q8_0", "--report"}, 2},
      {{"quantize", in, out, "--type", "q8_0", "--report", "-f", "/dev/null"}, 2},
      {{"quantize", in, out, "--type", "q8_0", "--ctx", "512"}, 2},
      {{"quantize", in, out, "--type", "q8_0", "--windows", "1"}, 2},
      {{"quantize", in, in, "--type", "q8_0"}, 2},
      {{"quantize", in, in, "--type", "q8_0", "--dry-run"}, 2},
      {{"quantize", in, "", "--type", "q8_0"}, 2},
      {{"quantize", in, "--type", "q8_0", "--dry-run", "--bits", "3"}, 2},
      {{"quantize", in, "--type", "q8_0", "--dry-run", "--bits", "4"}, 2},
      {{"quantize", in, "--type", "q8_0", "--dry-run", "--report", "-f", in}, 2},
      {{"quantize", in, "--type", "q8_0", "--dry-run", "--method", "gptq"}, 2},
      {{"quantize", in, "/dev/null", "--type", "q8_0"}, 2},
      {{"quantize", in, "/no/such/folder/x.gguf", "--type", "q8_0"}, 3},
      {{"quantize", "/no/such/file", out, "--type", "q8_0"}, 3}};
  for (const auto& [args, status] : refused) {
    const Finished finished = run_llm(args);
    INFO(finished.err);
    CHECK(finished.status == status);
    CHECK(is_one_error(finished));
    CHECK(files_in(temp.path()) == 0);
  }
}

TEST_CASE("quantize: stopped at any moment, it leaves the whole file or none") {
  LM_FIXTURE(folder, "models/TinyStories-656K");
  const TempDir models;
  const std::string whole = (models.path() / "f32.gguf").string();
  REQUIRE(run_llm({"convert", folder.string(), "-o", whole, "-q"}).status == 0);
  for (int step = 0; step < 24; ++step) {
    const int signal = step % 2 == 0 ? SIGINT : SIGKILL;
    const TempDir out;
    Setup setup;
    setup.args = {"quantize", whole, (out.path() / "out.gguf").string(), "--type", "q5_0", "-q"};
    Process process(std::move(setup));
    process.pump(step / 2 * 0.01);
    process.send(signal);
    const int status = process.finish().status;
    INFO("step " << step);
    CHECK((status == 0 || status == -signal || (signal == SIGINT && status == 130)));
    const bool written = std::filesystem::exists(out.path() / "out.gguf");
    CHECK((written || status != 0));
    CHECK((!written || status == 0 || signal == SIGKILL));
    // What is killed has no time to remove a file, unless it had no name yet.
    if (signal == SIGINT || has_nameless_files(out.path()))
      CHECK(files_in(out.path()) == (written ? 1 : 0));
  }
}
