// Runs every input of a fuzz target's corpus (seeds, and whatever once broke something) through its
// entry function. A crash, a hang or a sanitizer's report is the failure.
#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "engine/core/file.h"
#include "tests/support/support.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
extern const char* const fuzz_corpus;  // the folder

namespace lm {
namespace {

// On the heap and of the exact size, so that a read past the end is seen.
void run(std::string_view input) {
  const std::vector<uint8_t> bytes(input.begin(), input.end());
  CHECK(LLVMFuzzerTestOneInput(bytes.data(), bytes.size()) == 0);
}

TEST_CASE("every input of the corpus is survived, whole and cut") {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(fuzz_corpus)) {
    paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  REQUIRE_FALSE(paths.empty());
  for (const std::filesystem::path& path : paths) {
    INFO(path.string());
    const std::string input = test::require_ok(read_file(path, uint64_t{1} << 20));
    run(input);
    for (size_t cut = 1; cut < 8; ++cut)
      run(std::string_view(input).substr(0, input.size() * cut / 8));
  }
}

TEST_CASE("changed inputs of the corpus are survived") {
  test::Random random(1);
  for (const auto& entry : std::filesystem::directory_iterator(fuzz_corpus)) {
    INFO(entry.path().string());
    const std::string input = test::require_ok(read_file(entry.path(), uint64_t{1} << 20));
    if (input.empty()) continue;
    for (int round = 0; round < 50; ++round) {
      std::string changed = input;
      for (uint64_t n = 1 + random.below(4); n > 0; --n) {
        changed[random.below(changed.size())] = char(random.next());
      }
      run(changed);
    }
  }
}

}  // namespace
}  // namespace lm
