// tests/model/tiny_file.h — damaging a model file in memory, and trying to run it.
#pragma once
#include <algorithm>
#include <cstddef>
#include <string_view>
#include <vector>

#include "tests/model/run_model.h"

namespace lm::test {

// Changes the first letter of a key's or tensor's name, so that it is missing and another is there.
inline void rename(std::vector<std::byte>& bytes, std::string_view name) {
  const auto text = std::as_bytes(std::span(name));
  std::vector<std::byte> pattern(8);  // the length that precedes the name
  pattern[0] = std::byte(name.size());
  pattern.insert(pattern.end(), text.begin(), text.end());
  const auto found = std::search(bytes.begin(), bytes.end(), pattern.begin(), pattern.end());
  REQUIRE(found != bytes.end());
  *(found + 8) = std::byte('x');
}

// What stands in the way of running two tokens; ok when nothing does.
inline Status load_and_run(const std::vector<std::byte>& bytes) {
  const gguf::File file = LM_TRY(gguf::File::parse(bytes));
  Registry registry;
  registry.add(cpu::registry_entry());
  const std::unique_ptr<Backend> backend =
      LM_TRY(registry.open("cpu", {.n_threads = 1, .isa = "scalar"}));
  LM_TRY(Model::load(file, *backend, {}));
  const TokenId first[] = {1, 2};
  ModelRunner(file, {.isa = "scalar", .max_tokens = 2, .n_blocks = 1}).run(first);
  return ok();
}

// Where a tensor's dtype is written, as its GGUF id.
inline std::byte* dtype_of(std::vector<std::byte>& bytes, const gguf::TensorInfo& info) {
  const auto text = std::as_bytes(std::span(info.name));
  const auto found = std::search(bytes.begin(), bytes.end(), text.begin(), text.end());
  REQUIRE(found != bytes.end());
  return &*found + text.size() + 4 + 8 * size_t(info.n_dims);  // after n_dims and the dims
}

}  // namespace lm::test
