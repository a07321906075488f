// llm convert, from a folder to a model that speaks.
#include <signal.h>

#include <algorithm>
#include <cmath>

#include "engine/core/file.h"
#include "engine/core/json.h"
#include "tests/cli/process.h"

using namespace lm;
using namespace lm::test;

namespace {

size_t files_in(const std::filesystem::path& folder) {
  return size_t(std::distance(std::filesystem::directory_iterator(folder), {}));
}

using Refused = std::pair<std::vector<std::string>, int>;  // arguments, exit status

// Each ends in one error, and `folder` stays empty.
void check_refused(const std::vector<Refused>& refused, const std::filesystem::path& folder) {
  for (const auto& [args, status] : refused) {
    const Finished finished = run_llm(args);
    INFO(finished.err);
    CHECK(finished.status == status);
    CHECK(is_one_error(finished));
    CHECK(files_in(folder) == 0);
  }
}

}  // namespace

TEST_CASE("convert: a Hugging Face folder becomes a model that speaks") {
  LM_FIXTURE(folder, "models/TinyStories-656K");
  const TempDir out;
  const std::string path = (out.path() / "stories.gguf").string();
  const Finished converted = run_llm({"convert", folder.string(), "-o", path});
  INFO(converted.err);
  REQUIRE(converted.status == 0);
  CHECK(converted.out.empty());
  CHECK(converted.err.find("tensors") != std::string::npos);
  CHECK(files_in(out.path()) == 1);
  const Finished told = run_llm({"-m", path, "-p", "Once upon a time", "-n", "60", "--temp", "0"});
  CHECK(told.status == 0);
  CHECK(told.out.size() > 100);
  CHECK(told.out.find("Lily") != std::string::npos);
  CHECK(run_llm({"convert", folder.string(), "-o", path, "--type", "f16", "-q"}).err.empty());
  const Json object = require_ok(parse_json(run_llm({"inspect", "--json", path}).out));
  CHECK(object["types"][0]["type"] == "f16");
}

TEST_CASE("convert: without a vocabulary there are still logits, but no text") {
  LM_FIXTURE(weights, "logits/tiny_qwen2.safetensors");
  LM_FIXTURE(config, "logits/tiny_qwen2_config.json");
  const TempDir folder;
  std::filesystem::copy_file(weights, folder.path() / "model.safetensors");
  std::filesystem::copy_file(config, folder.path() / "config.json");
  const std::string path = (folder.path() / "out.gguf").string();
  CHECK(run_llm({"convert", folder.path().string(), "-o", path}).status == 3);
  REQUIRE(run_llm({"convert", folder.path().string(), "-o", path, "--no-vocab"}).status == 0);
  CHECK(run_llm({"logits", "-m", path, "--ids", "1 2 3"}).status == 0);
  const Finished run = run_llm({"-m", path, "-p", "x"});
  CHECK(run.status == 3);
  CHECK(is_one_error(run));
}

TEST_CASE("convert: what is refused") {
  const TempDir folder;
  const std::string path = (folder.path() / "out.gguf").string();
  const std::vector<Refused> refused{
      {{"convert"}, 2},
      {{"convert", folder.path().string()}, 2},
      {{"convert", folder.path().string(), "-o", path}, 3},
      {{"convert", "/no/such/folder", "-o", path}, 3},
      {{"convert", folder.path().string(), "-o", path, "--type", "nonsense"}, 2}};
  check_refused(refused, folder.path());
}

TEST_CASE("convert: stopped at any moment, it leaves the whole file or none") {
  LM_FIXTURE(folder, "models/TinyStories-656K");
  for (int step = 0; step < 15; ++step) {
    const TempDir out;
    Setup setup;
    setup.args = {"convert", folder.string(), "-o", (out.path() / "out.gguf").string(), "-q"};
    Process process(std::move(setup));
    process.pump(step * 0.002);
    process.send(SIGINT);
    const int status = process.finish().status;
    INFO("step " << step);
    CHECK((status == 0 || status == 130 || status == -SIGINT));
    CHECK(files_in(out.path()) == (status == 0 ? 1 : 0));
  }
}

TEST_CASE("convert: a device is not a file to write a model to") {
  LM_FIXTURE(folder, "models/TinyStories-656K");
  const Finished finished = run_llm({"convert", folder.string(), "-o", "/dev/full"});
  CHECK(finished.status == 2);
  CHECK(is_one_error(finished));
}

TEST_CASE("convert: a limit on the size of files is an error, and leaves nothing") {
  LM_FIXTURE(folder, "models/TinyStories-656K");
  const TempDir out;
  Setup setup;
  setup.args = {"convert", folder.string(), "-o", (out.path() / "out.gguf").string()};
  setup.file_limit = 10000;
  const Finished finished = run_llm(std::move(setup));
  CHECK(finished.status == 1);
  CHECK(is_one_error(finished));
  CHECK(files_in(out.path()) == 0);
}

TEST_CASE("convert: the model's own files are never written over") {
  LM_FIXTURE(weights, "logits/tiny_qwen2.safetensors");
  LM_FIXTURE(config, "logits/tiny_qwen2_config.json");
  const TempDir folder, elsewhere;
  std::filesystem::copy_file(weights, folder.path() / "model.safetensors");
  std::filesystem::copy_file(config, folder.path() / "config.json");
  std::filesystem::create_symlink(folder.path() / "config.json", elsewhere.path() / "link.gguf");
  for (const std::filesystem::path& out :
       {folder.path() / "model.safetensors", folder.path() / "config.json",
        elsewhere.path() / "link.gguf"}) {
    const Finished finished =
        run_llm({"convert", folder.path().string(), "-o", out.string(), "--no-vocab"});
    INFO(out.string() << ": " << finished.err);
    CHECK(finished.status == 2);
    CHECK(is_one_error(finished));
  }
  const std::string path = (folder.path() / "out.gguf").string();
  for (int i = 0; i < 2; ++i) {
    CHECK(run_llm({"convert", folder.path().string(), "-o", path, "--no-vocab"}).status == 0);
  }
}

TEST_CASE("convert and export: reports, a verified file, and the way back") {
  LM_FIXTURE(folder, "models/TinyStories-656K");
  const TempDir out;
  const std::string path = (out.path() / "stories.gguf").string();
  const Finished report = run_llm({"convert", folder.string(), "-o", path, "--type", "i4g32",
                                   "--head", "q8_0", "--report", "--verify"});
  INFO(report.err);
  REQUIRE(report.status == 0);
  CHECK(report.out.find("blk.1.ffn_down.weight") != std::string::npos);
  CHECK(report.out.find("i4g32") != std::string::npos);
  CHECK(report.err.find("verified") != std::string::npos);
  CHECK(report.err.find("not exact, most of all") != std::string::npos);
  const Finished json = run_llm({"convert", folder.string(), "-o", path, "--json", "-q"});
  const Json object = require_ok(parse_json(json.out));
  CHECK(object["verified"] == false);
  CHECK(object["tensors"][0]["exact"] == true);
  CHECK(object["tensors"][0]["xxh3"].get<std::string>().size() == 16);
  REQUIRE(run_llm({"convert", folder.string(), "-o", path, "--type", "q4_0", "-q"}).status == 0);
  const std::string back = (out.path() / "back").string();
  const Finished exported = run_llm({"export", path, "--to", "hf-gptq", back, "--json"});
  INFO(exported.err);
  REQUIRE(exported.status == 0);
  CHECK(require_ok(parse_json(exported.out))["family"] == "LlamaForCausalLM");
  CHECK(exported.err.find("14 of them as integers") != std::string::npos);
  const std::string again = (out.path() / "again.gguf").string();
  REQUIRE(run_llm({"convert", back, "-o", again, "-q"}).status == 0);
  const std::vector<std::string> prompt{"-p", "Once upon a time", "-n", "40", "--temp", "0"};
  const auto told = [&](const std::string& model) {
    std::vector<std::string> args{"-m", model};
    args.insert(args.end(), prompt.begin(), prompt.end());
    return run_llm(args).out;
  };
  CHECK(told(again) == told(path));
}

TEST_CASE("export: what is refused") {
  const TempDir folder;
  const std::string out = (folder.path() / "out").string();
  const std::vector<Refused> refused{{{"export"}, 2},
                                     {{"export", "model.gguf"}, 2},
                                     {{"export", "/no/such/file", out}, 3},
                                     {{"export", "model.gguf", out, "--to", "onnx"}, 2}};
  check_refused(refused, folder.path());
}
