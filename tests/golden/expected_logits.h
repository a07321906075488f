// tests/golden/expected_logits.h — logits that Hugging Face transformers computed in float64, and a
// file's own against them on every instruction set.
#pragma once
#include <filesystem>
#include <span>
#include <vector>

#include "engine/core/file.h"
#include "engine/core/json.h"
#include "tests/model/run_model.h"
#include "tests/reference/reference_decoder.h"

namespace lm::test {

// f32 weights and f32 KV: max |Δ| at a position ÷ max |reference| there.
inline constexpr double kTolerance = 1e-4;

struct Expected {
  std::vector<std::vector<TokenId>> sequences;
  std::vector<std::vector<Vec>> logits;  // [sequence][position][token]
};

inline Expected read_expected(const std::filesystem::path& path) {
  const Json json = require_ok(parse_json(require_ok(read_file(path, 1 << 24))));
  return {json["sequences"].get<std::vector<std::vector<TokenId>>>(),
          json["logits"].get<std::vector<std::vector<Vec>>>()};
}

inline void check_logits(const gguf::File& file, const Expected& expected) {
  REQUIRE(!expected.sequences.empty());
  const ReferenceDecoder reference(file);
  for (const std::string_view isa : cpu::usable_isas()) {
    CAPTURE(isa);
    ModelRunner runner(file, {.isa = std::string(isa)});
    for (size_t i = 0; i < expected.sequences.size(); ++i) {
      CHECK(worst_error(runner.run(expected.sequences[i]), expected.logits[i]) <= kTolerance);
    }
  }
  // Our own reference decoder must be right by a wider margin than what it judges. (Metadata are
  // f32: a rope base or a factor that f32 rounds is worth 1e-6.)
  for (size_t i = 0; i < expected.sequences.size(); ++i) {
    CHECK(worst_error(reference.logits(expected.sequences[i]), expected.logits[i]) <= 1e-5);
  }
}

}  // namespace lm::test
