// A conversation of yesterday goes on without computing it again, to the same bits, whatever has
// happened to the files meanwhile.
#include <sys/stat.h>

#include <fstream>
#include <vector>

#include "engine/runtime/engine.h"
#include "engine/runtime/kv_store.h"
#include "tests/runtime/gated_engine.h"
#include "tests/runtime/support.h"

namespace lm {
namespace {

using test::Answer;
using test::ModelFile;

InstanceOptions options_for(const std::filesystem::path& model) {
  InstanceOptions options = test::options_for(model);
  options.n_ctx = 256;
  options.max_step_tokens = 48;
  return options;
}

// An engine as a program started anew would have it; ended, it has written what it had to.
std::unique_ptr<Engine> start(const InstanceOptions& options, const std::filesystem::path& folder) {
  EngineOptions engine_options;
  engine_options.disk = test::require_ok(DiskCache::open({.folder = folder}));
  return Engine::start(test::open(options), std::move(engine_options));
}

// From now on programs know at once which model it is, and write a block when it becomes whole.
void make_known(const std::filesystem::path& model, const std::filesystem::path& folder) {
  const StampedFile stamped = test::require_ok(stamp_file(model));
  REQUIRE(fingerprint(std::span(&stamped, 1), folder, std::atomic<bool>(false)));
}

std::vector<std::filesystem::path> block_files(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder / "kv")) {
    if (entry.is_regular_file()) files.push_back(entry.path());
  }
  return files;
}

TEST_CASE("a later program loads what an earlier one computed, and goes on with the same bits") {
  for (const char* architecture : {"llama", "gemma3", "gpt-oss"}) {
    for (const DType kv : {DType::f32, DType::f16, DType::q8_0}) {
      CAPTURE(architecture);
      const ModelFile file(test::tiny_model_for(architecture, kv));
      const test::TempDir folder;
      InstanceOptions options = options_for(file.path());
      options.kv_dtype = kv;
      const std::vector<TokenId> first = test::random_tokens(1, 100, 200);
      const Answer answer =
          test::run(*start(options, folder.path()), test::sampled_request(first, 30, 5));
      CHECK(block_files(folder.path()).size() == 9);  // of 129 computed tokens

      std::vector<TokenId> second = first;
      second.insert(second.end(), answer.tokens.begin(), answer.tokens.end());
      second.push_back(7);
      const Answer restored =
          test::run(*start(options, folder.path()), test::sampled_request(second, 20, 6));
      const Answer expected =
          test::run(*Engine::start(test::open(options)), test::sampled_request(second, 20, 6));
      CHECK(restored.timings.loaded_tokens == 129);
      CHECK(restored == expected);
    }
  }
}

TEST_CASE("a context that is shifted goes on in a later program with the same bits") {
  for (const char* architecture : {"llama", "gemma3", "gpt-oss"}) {
    for (const DType kv : {DType::f32, DType::q8_0}) {
      CAPTURE(architecture);
      const ModelFile file(test::tiny_model_for(architecture, kv));
      const test::TempDir folder;
      InstanceOptions options = options_for(file.path());
      options.kv_dtype = kv;
      options.n_ctx = 128;
      // Longer than the context before it is answered, and again by the answer.
      const auto request = [] {
        Request asked = test::sampled_request(test::random_tokens(1, 300, 200), 150, 5);
        asked.overflow = Overflow::shift;
        return asked;
      };
      const Answer expected = test::run(*Engine::start(test::open(options)), request());
      CHECK(expected.timings.dropped_tokens > 300);
      make_known(file.path(), folder.path());
      {
        const auto engine = start(options, folder.path());
        CHECK(test::run(*engine, request()) == expected);
        CHECK(test::run(*engine, request()) == expected);  // continued, from memory
      }
      const Answer restored = test::run(*start(options, folder.path()), request());
      CHECK(restored.timings.loaded_tokens == 48);  // of the 64 left of the prompt
      CHECK(restored == expected);
    }
  }
}

TEST_CASE("what all texts begin with is kept, however many end before the file is known") {
  for (const char* architecture : {"llama", "gemma3", "gpt-oss"}) {
    CAPTURE(architecture);
    const ModelFile file(test::tiny_model_for(architecture, DType::f32));
    const test::TempDir folder;
    const InstanceOptions options = options_for(file.path());
    const auto request = [](uint64_t seed) {  // two blocks that all share, and four of its own
      std::vector<TokenId> text = test::random_tokens(1, 32, 200);
      const std::vector<TokenId> own = test::random_tokens(10 + seed, 64, 200);
      text.insert(text.end(), own.begin(), own.end());
      return test::sampled_request(std::move(text), 9, seed);
    };
    constexpr int kTexts = 12;
    bool windowed = false;
    {
      test::GatedEngine gated(test::open(options), folder.path());
      CHECK(gated.engine().instance().pool().n_blocks() < 2 + kTexts * 4);
      windowed = gated.engine().instance().pool().window() > 0;
      for (int i = 0; i < kTexts; ++i) test::run(gated.engine(), request(uint64_t(i)));
    }
    const Answer restored = test::run(*start(options, folder.path()), request(kTexts - 1));
    CHECK(restored.timings.loaded_tokens == 80);  // all whole blocks but the last
    CHECK(restored == test::run(*Engine::start(test::open(options)), request(kTexts - 1)));
    // What was the first one's own is evicted. With a window there were copies.
    CHECK(test::run(*start(options, folder.path()), request(0)).timings.loaded_tokens ==
          (windowed ? 80 : 32));
  }
}

TEST_CASE("what belongs to another model, KV type or block size is not taken") {
  const test::TempDir folder;
  const ModelFile file(test::tiny_model("llama"));
  const std::vector<TokenId> prompt = test::random_tokens(1, 100, 200);
  const InstanceOptions options = options_for(file.path());
  test::run(*start(options, folder.path()), test::sampled_request(prompt, 2, 5));
  const auto loaded = [&](const InstanceOptions& changed) {
    make_known(changed.model_path, folder.path());
    return test::run(*start(changed, folder.path()), test::sampled_request(prompt, 2, 5))
        .timings.loaded_tokens;
  };
  CHECK(loaded(options) == 99);  // all but the last token: in the unfinished block too
  InstanceOptions changed = options;
  changed.kv_dtype = DType::f16;
  CHECK(loaded(changed) == 0);
  changed = options;
  changed.block_size = 32;
  CHECK(loaded(changed) == 0);
  changed = options;
  changed.backend.isa = "scalar";
  const bool scalar_here =
      test::open(options)->backend().arithmetic() == test::open(changed)->backend().arithmetic();
  CHECK(loaded(changed) == (scalar_here ? 99 : 0));
  changed = options;
  changed.backend.n_threads = 2;  // no bit depends on that
  CHECK(loaded(changed) == 99);

  // One byte of a weight, at the end of the file.
  const auto other_path = file.path().parent_path() / "other.gguf";
  std::filesystem::copy_file(file.path(), other_path);
  changed = options_for(other_path);
  CHECK(loaded(changed) == 99);  // the same bytes in another place
  std::fstream bytes(other_path, std::ios::in | std::ios::out | std::ios::binary);
  bytes.seekg(-40, std::ios::end);
  const char byte = char(bytes.get());
  bytes.seekp(-40, std::ios::end);
  bytes.put(char(byte ^ 1));
  bytes.close();
  CHECK(loaded(changed) == 0);
}

TEST_CASE("damaged files are misses, and are replaced") {
  const test::TempDir folder;
  const ModelFile file(test::tiny_model("llama"));
  const std::vector<TokenId> prompt = test::random_tokens(1, 65, 200);
  const InstanceOptions options = options_for(file.path());
  const Answer expected =
      test::run(*start(options, folder.path()), test::sampled_request(prompt, 12, 5));
  // Those that the prompt needs: the tail of the answer is a file of its own.
  const auto prompt_files = [&] {
    std::vector<std::filesystem::path> files = block_files(folder.path());
    std::erase_if(files, [](const auto& path) { return path.native().ends_with("-4"); });
    return files;
  };
  const size_t n_files = prompt_files().size();
  REQUIRE(n_files == 4);
  test::Random random(3);
  for (int round = 0; round < 40; ++round) {
    CAPTURE(round);
    const auto path = prompt_files()[random.below(n_files)];
    const uint64_t size = std::filesystem::file_size(path);
    if (round % 4 == 0) {
      std::filesystem::resize_file(path, random.below(size));
    } else {
      std::fstream bytes(path, std::ios::in | std::ios::out | std::ios::binary);
      const auto at = std::streamoff(random.below(round % 4 == 1 ? 200 : size));
      bytes.seekg(at);
      const char byte = char(bytes.get());
      bytes.seekp(at);
      bytes.put(char(byte ^ (1 << random.below(8))));
    }
    const Answer answer =
        test::run(*start(options, folder.path()), test::sampled_request(prompt, 12, 5));
    CHECK(answer == expected);
    CHECK(answer.timings.loaded_tokens < 64);
    CHECK(test::run(*start(options, folder.path()), test::sampled_request(prompt, 12, 5))
              .timings.loaded_tokens == 64);
  }
}

TEST_CASE("the end of a text that fills no block is kept too, and a damaged one is a miss") {
  const test::TempDir folder;
  const ModelFile file(test::tiny_model("gemma3"));
  const InstanceOptions options = options_for(file.path());
  const std::vector<TokenId> prompt = test::random_tokens(1, 60, 200);
  const Answer first =
      test::run(*start(options, folder.path()), test::sampled_request(prompt, 14, 5));
  std::vector<TokenId> next = prompt;  // 73 computed: 9 of them in the last block
  next.insert(next.end(), first.tokens.begin(), first.tokens.end());
  next.push_back(7);
  // Each turn writes what it computed: the next question needs the same beginning.
  const auto ask = [&](const std::vector<TokenId>& text) {
    const test::TempDir copy;
    std::filesystem::copy(folder.path(), copy.path(),
                          std::filesystem::copy_options::recursive |
                              std::filesystem::copy_options::overwrite_existing);
    const Answer answer =
        test::run(*start(options, copy.path()), test::sampled_request(text, 12, 6));
    CHECK(answer ==
          test::run(*Engine::start(test::open(options)), test::sampled_request(text, 12, 6)));
    return answer.timings.loaded_tokens;
  };
  CHECK(ask(next) == 73);
  std::vector<TokenId> edited(next.begin(), next.begin() + 70);  // goes on in another way
  edited.push_back((next[70] + 1) % 200);
  CHECK(ask(edited) == 70);
  for (const auto& path : block_files(folder.path())) {
    if (!path.native().ends_with("-4")) continue;
    std::fstream bytes(path, std::ios::in | std::ios::out | std::ios::binary);
    bytes.seekp(-1, std::ios::end);
    bytes.put('x');
  }
  CHECK(ask(next) == 64);
}

TEST_CASE("the space names what decides the bits") {
  const ModelFile file(test::tiny_model("llama"));
  const auto instance = test::open(options_for(file.path()));
  const std::string text = kv_space_text(*instance);
  CHECK(text.find("kv f32 of 16 tokens") != std::string::npos);
  CHECK(text.find("cpu") != std::string::npos);
  CHECK(text.find("thread") == std::string::npos);
}

}  // namespace
}  // namespace lm
