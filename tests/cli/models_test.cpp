// Model files as they come: missing, cut, hostile. Every one gives an answer or one clear line, in
// little memory and no time.
#include <fstream>
#include <sstream>

#include "engine/core/file.h"
#include "engine/core/json.h"
#include "gguf/writer.h"
#include "tests/cli/process.h"

using namespace lm;
using namespace lm::test;

namespace {

constexpr uint64_t kMostMemory = kSanitized ? ~0ull : 64u << 20;

std::string read_all(const std::string& path) {
  return require_ok(read_file(path, 64u << 20));
}

// What a command that met a bad file looks like: refused in one line, or (inspect) answered.
void check_bounded(const Finished& finished) {
  INFO(finished.err);
  CHECK((finished.status == 0 || finished.status == 3 || finished.status == 2 ||
         finished.status == 4));
  if (finished.status != 0) CHECK(is_one_error(finished));
  CHECK(finished.peak_bytes < kMostMemory);
}

std::string u32(uint32_t value) {
  return {reinterpret_cast<const char*>(&value), 4};
}
std::string u64(uint64_t value) {
  return {reinterpret_cast<const char*>(&value), 8};
}
std::string text(std::string_view value) {
  return u64(value.size()) + std::string(value);
}
std::string header(uint64_t n_tensors, uint64_t n_keys) {
  return "GGUF" + u32(3) + u64(n_tensors) + u64(n_keys);
}

}  // namespace

TEST_CASE("models: what is not there, or is no model") {
  const TempDir folder;
  const std::string empty = write_file(folder, "empty.gguf", "");
  const std::string words =
      write_file(folder, "words.gguf", "these are only words, and not a model");
  const std::string zeros = write_file(folder, "zeros.gguf", std::string(100'000, '\0'));
  const std::vector<std::string> paths{"/no/such/model.gguf",
                                       folder.path().string(),
                                       "/dev/null",
                                       "/dev/zero",
                                       empty,
                                       words,
                                       zeros,
                                       folder.path() / "\x1b]0;title\x07.gguf"};
  for (const std::string& path : paths) {
    for (const std::vector<std::string>& command :
         std::vector<std::vector<std::string>>{{"-m", path, "-p", "x"},
                                               {"inspect", path},
                                               {"inspect", "--json", path},
                                               {"tokenize", "-m", path, "x"},
                                               {"logits", "-m", path, "--ids", "1"}}) {
      const Finished finished = run_llm(command);
      INFO(command.front() << " " << path << ": " << finished.err);
      CHECK(finished.status == 3);
      CHECK(finished.out.empty());
      CHECK(is_one_error(finished));
    }
  }
}

TEST_CASE("models: a file cut anywhere is refused in one line") {
  const std::string whole = read_all(tiny_model_path());
  const TempDir folder;
  Random random(21);
  for (int i = 0; i < 40; ++i) {
    const size_t length = i < 20 ? size_t(random.below(4000)) : size_t(random.below(whole.size()));
    const std::string path = write_file(folder, "cut.gguf", whole.substr(0, length));
    const Finished finished =
        i % 2 == 0 ? run_llm({"inspect", path}) : run_llm({"-m", path, "-p", "x", "-n", "1"});
    INFO(length << ": " << finished.err);
    CHECK(finished.status == 3);
    CHECK(is_one_error(finished));
    CHECK(finished.peak_bytes < kMostMemory);
  }
}

TEST_CASE("models: damaged headers never crash a command") {
  const std::string whole = read_all(tiny_model_path());
  const TempDir folder;
  Random random(22);
  for (int i = 0; i < 120; ++i) {
    std::string bytes = whole;
    for (uint64_t flips = 1 + random.below(4); flips > 0; --flips) {
      bytes[size_t(random.below(3000))] = char(random.below(256));
    }
    const std::string path = write_file(folder, "bent.gguf", bytes);
    INFO("round " << i);
    if (i % 3 == 0) check_bounded(run_llm({"inspect", path}));
    if (i % 3 == 1) check_bounded(run_llm({"inspect", "--json", "--full", path}));
    if (i % 3 == 2) {
      const Finished finished = run_llm({"-m", path, "-p", "x", "-n", "1", "--ctx", "64"});
      INFO(finished.err);
      CHECK((finished.status >= 0 && finished.status <= 5));
      CHECK(finished.peak_bytes < kMostMemory);
    }
  }
}

TEST_CASE("models: headers that promise more than a file can hold") {
  const uint64_t huge = 1ull << 60;
  const std::vector<std::string> files{
      header(huge, 0),
      header(0, huge),
      header(~0ull, ~0ull),
      header(0, 1) + u64(huge),
      header(0, 1) + text("k") + u32(8) + u64(huge),
      header(0, 1) + text("k") + u32(9) + u32(8) + u64(huge),
      header(0, 1) + text("k") + u32(9) + u32(9) + u64(huge),
      header(0, 1) + text("k") + u32(9) + u32(4) + u64(1ull << 62),
      header(1, 0) + text("t") + u32(4) + u64(1ull << 32) + u64(1ull << 32) + u64(1) + u64(1) +
          u32(0) + u64(0),
      header(1, 0) + text("t") + u32(1'000'000) + u64(1),
      header(1, 0) + text("t") + u32(1) + u64(32) + u32(0) + u64(~0ull - 31),
      header(0, 1) + text("general.alignment") + u32(4) + u32(0),
      header(0, 2) + text("k") + u32(4) + u32(1) + text("k") + u32(4) + u32(2),
  };
  const TempDir folder;
  for (size_t i = 0; i < files.size(); ++i) {
    const std::string path = write_file(folder, "hostile.gguf", files[i]);
    INFO("file " << i);
    const Finished finished = run_llm({"inspect", path});
    CHECK(finished.status == 3);
    CHECK(is_one_error(finished));
    CHECK(finished.peak_bytes < kMostMemory);
  }
}

TEST_CASE("models: a long array and deep nesting cost no more than they hold") {
  std::string nested = header(0, 1) + text("deep") + u32(9);
  for (int i = 0; i < 100'000; ++i) nested += u32(9) + u64(1);
  const TempDir folder;
  check_bounded(run_llm({"inspect", write_file(folder, "deep.gguf", nested)}));
  std::string many = header(0, 1) + text("many") + u32(9) + u32(8) + u64(500'000);
  for (int i = 0; i < 500'000; ++i) many += u64(0);
  const std::string path = write_file(folder, "many.gguf", many);
  const Finished finished = run_llm({"inspect", path});
  check_bounded(finished);
  CHECK(finished.status == 0);
  CHECK(finished.out.find("500000") != std::string::npos);
}

TEST_CASE("models: control characters in a file never reach the terminal") {
  gguf::Writer writer;
  writer.set_str("general.architecture", "\x1b[31mllama\x07");
  writer.set_str("general.name",
                 "a\x1b]0;owned\x07\n\r\x9b"
                 "b\xc2\x9b"
                 "31m");
  const std::vector<std::string> words{"\x1b[2J", "ok"};
  writer.set_strs("tokenizer.ggml.tokens", words);
  writer.set_str("evil\x1b[1m.key", "x");
  const int64_t dims[] = {4};
  REQUIRE(writer.add_tensor("te\x1b[1mnsor", DType::f32, dims).ok());
  const TempDir folder;
  const std::string path = (folder.path() / "evil.gguf").string();
  require_ok(writer.write(path, [](size_t, const gguf::Writer::Sink& sink) {
    return sink(std::vector<std::byte>(16));
  }));
  for (const std::vector<std::string>& command :
       std::vector<std::vector<std::string>>{{"inspect", path},
                                             {"inspect", "--full", path},
                                             {"inspect", "--json", path},
                                             {"-m", path, "-p", "x"},
                                             {"tokenize", "-m", path, "x"}}) {
    Setup setup;
    setup.args = command;
    setup.out = setup.err = Stream::terminal();
    const Finished finished = run_llm(std::move(setup));
    INFO(finished.out);
    CHECK_FALSE(finished.out.empty());
    for (const char* control : {"\x1b", "\x07", "\r", "\xc2\x9b"}) {
      CHECK(finished.out.find(control) == std::string::npos);
    }
  }
}

TEST_CASE("models: inspect of a whole model, as text and as JSON") {
  const std::string path = tiny_model_path();
  const Finished shown = run_llm({"inspect", path});
  CHECK(shown.status == 0);
  CHECK(shown.out.find("token_embd.weight") != std::string::npos);
  CHECK(shown.out.find("general.architecture") != std::string::npos);
  const Finished printed = run_llm({"inspect", "--json", "--ctx", "100", "--kv", "f32", path});
  CHECK(printed.status == 0);
  const Json object = require_ok(parse_json(printed.out));
  CHECK(object["bytes"] == std::filesystem::file_size(path));
  CHECK(object["metadata"]["general.architecture"] == "llama");
  CHECK(object["model"]["runnable"] == true);
  CHECK(object["model"]["n_layers"] == 2);
  CHECK(object["needs"]["ctx"] == 100);
  CHECK(object["needs"]["kv_bytes"] ==
        128 * 2 * 2 * 2 * 6 * 4);  // whole blocks of 32; layers, K and V, heads, head_dim, f32
  const Json both = require_ok(
      parse_json(run_llm({"inspect", "--json", "--ctx", "100", "--draft", path, path}).out));
  CHECK(both["needs"]["total_bytes"].get<uint64_t>() ==
        2 * (both["needs"]["weight_bytes"].get<uint64_t>() +
             both["needs"]["kv_bytes"].get<uint64_t>()));
  uint64_t bytes = 0;
  for (const Json& tensor : object["tensors"]) bytes += tensor["bytes"].get<uint64_t>();
  CHECK(object["needs"]["weight_bytes"] == bytes);
  CHECK(run_llm({"inspect", "--kv", "q8_0", path}).status == 2);  // heads of 6 make no blocks of 32
}

TEST_CASE("models: inspect --full shows whole arrays") {
  const std::string path = tiny_model_path();
  const Json brief = require_ok(parse_json(run_llm({"inspect", "--json", path}).out));
  const Json full = require_ok(parse_json(run_llm({"inspect", "--json", "--full", path}).out));
  const Json& cut = brief["metadata"]["tokenizer.ggml.tokens"];
  REQUIRE(cut.is_object());
  const Json& whole = full["metadata"]["tokenizer.ggml.tokens"];
  REQUIRE(whole.is_array());
  CHECK(cut["count"] == whole.size());
  CHECK(cut["first"][3] == whole[3]);
}

TEST_CASE("models: inspect of vocabularies without tensors") {
  LM_FIXTURE(folder, "tokenizers");
  int n_files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".gguf") continue;
    const Finished finished = run_llm({"inspect", "--json", entry.path().string()});
    INFO(entry.path().string());
    CHECK(finished.status == 0);
    CHECK(finished.peak_bytes < kMostMemory);
    const Json object = require_ok(parse_json(finished.out));
    CHECK(object["tensors"].empty());
    CHECK(object["metadata"]["tokenizer.ggml.tokens"]["count"].get<int>() > 30'000);
    CHECK(run_llm({"inspect", entry.path().string()}).status == 0);
    const Finished run = run_llm({"-m", entry.path().string(), "-p", "x"});
    CHECK(run.status == 3);
    CHECK(is_one_error(run));
    ++n_files;
  }
  CHECK(n_files > 0);
}

TEST_CASE("models: too little memory is status 4") {
  if (kSanitized) LM_SKIP("a sanitizer needs the address space");
  Setup setup;
  setup.args = {"-m", long_model_path(), "-p", "x", "--ctx", "16000000", "--kv", "f32"};
  setup.memory_limit = 600u << 20;
  const Finished finished = run_llm(std::move(setup));
  CHECK(finished.status == 4);
  CHECK(is_one_error(finished));
}

TEST_CASE("models: threads that the system refuses are done without, or are an error") {
  if (kSanitized) LM_SKIP("a sanitizer needs the address space");
  // Beside the program itself, which the system must be able to map.
  const uint64_t program = std::filesystem::file_size(LLM_BINARY);
  for (const uint64_t mib : {8, 12, 16, 22, 52, 200}) {
    Setup setup;
    setup.args = {"-m", tiny_model_path(), "-p", "x", "-n", "4", "-t", "64"};
    setup.memory_limit = program + (mib << 20);
    const Finished finished = run_llm(std::move(setup));
    INFO(mib << " MiB: " << finished.err);
    CHECK((finished.status == 0 || finished.status == 4));
    if (finished.status != 0) CHECK(is_one_error(finished));
  }
}

TEST_CASE("models: no descriptor to spare is an error") {
  if (kSanitized) LM_SKIP("a sanitizer opens files of its own");
  for (const uint64_t descriptors : {4, 5}) {
    Setup setup;
    setup.args = {"-m", tiny_model_path(), "-p", "x"};
    setup.descriptor_limit = descriptors;
    const Finished finished = run_llm(std::move(setup));
    INFO(finished.err);
    CHECK(finished.status == 1);
    CHECK(is_one_error(finished));
  }
}

TEST_CASE("models: a file cut short while it is read is one line and status 3") {
  const TempDir folder;
  const std::string path = (folder.path() / "model.gguf").string();
  std::filesystem::copy_file(long_model_path(), path);
  Setup setup;
  setup.args = {"-m", path, "-p", "x", "--ignore-eos", "-t", "2"};
  Process process(std::move(setup));
  REQUIRE(process.expect_more());
  std::filesystem::resize_file(path, 100);
  const Finished finished = process.finish();
  CHECK(finished.status == 3);
  CHECK(is_one_error(finished));
}

TEST_CASE("models: a real model's greedy text, byte for byte") {
  LM_FIXTURE(folder, "models/stories260K");
  const std::string expected = read_all((folder / "greedy_200.txt").string());
  for (const char* threads : {"1", "2"}) {
    const Finished finished = run_llm({"-m", (folder / "stories260K.gguf").string(), "-p", "", "-n",
                                       "200", "--temp", "0", "--kv", "f32", "-t", threads});
    CHECK(finished.status == 0);
    CHECK(finished.out == expected);
  }
}
