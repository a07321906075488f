// Models divided between the CUDA backend and the CPU, wherever that is: the double-precision
// decoder's logits.
#include <string>
#include <vector>

#include "tests/cpu/harness.h"
#include "tests/cuda/both.h"
#include "tests/cuda/rig.h"
#include "tests/reference/reference_decoder.h"
#include "tests/runtime/support.h"

namespace lm::test {
namespace {

constexpr double kTolerance = 1e-4;  // see model_test.cpp: weights in f32, steps of few rows

std::vector<float> logits_of(Instance& instance, std::span<const TokenId> tokens) {
  constexpr int kChunk = 7;
  BlockTable table(instance.pool());
  std::vector<float> all;
  for (int first = 0; first < int(tokens.size()); first += kChunk) {
    const int n = std::min(kChunk, int(tokens.size()) - first);
    REQUIRE(table.prepare(first, first + n));
    const StepRow row{.tokens = tokens.subspan(size_t(first), size_t(n)),
                      .first_position = first,
                      .table = &table,
                      .n_logits = n};
    const std::span<float> logits = require_ok(instance.step(std::span(&row, 1)));
    all.insert(all.end(), logits.begin(), logits.end());
  }
  return all;
}

struct Division {
  int device_layers;
  std::vector<PlaceRule> place;
  size_t n_rooms;
};

TEST_CASE("CUDA: a model divided between the device and the CPU") {
  if (open_cuda() == nullptr) LM_SKIP("no CUDA device");
  for (const std::string_view name : {"llama", "gemma3", "gpt-oss"}) {
    const ModelFile file(tiny_model(name));
    const ReferenceDecoder reference(require_ok(gguf::File::open(file.path())), 400);
    const std::vector<TokenId> tokens = random_tokens(5, 24, int(reference.n_vocab()));
    const std::vector<Vec> expected = reference.logits(tokens);
    const bool has_experts = name == "gpt-oss";
    for (const Division& division : {
             Division{0, {}, 1},
             Division{1, {}, 2},
             Division{100, {}, 1},
             Division{kLayersThatFit, {{"ffn_.*_exps", "cpu"}}, has_experts ? 2u : 1u},
             Division{100, {{"attn", "cpu"}}, 2},
             Division{0, {{"ffn", "cuda"}, {"^output", "cuda"}}, 2},
         }) {
      InstanceOptions options = options_for(file.path());
      options.device = "cuda";
      options.max_step_tokens = options.max_step_logits = 7;
      options.device_layers = division.device_layers;
      options.place = division.place;
      const auto instance = require_ok(Instance::open(both(), options));
      CAPTURE(std::string(name));
      CAPTURE(instance->plan().placement.text(0));
      CHECK(instance->plan().rooms.size() == division.n_rooms);
      // Steps of 7 tokens: call by call, recorded, and replayed.
      const std::vector<float> logits = logits_of(*instance, tokens);
      CHECK(worst_error(logits, expected) < kTolerance);
      options.backend.record_steps = false;
      const auto unrecorded = require_ok(Instance::open(both(), options));
      CHECK(same_bits(logits, logits_of(*unrecorded, tokens)));
      CHECK(same_bits(logits, logits_of(*instance, tokens)));
    }
  }
}

}  // namespace
}  // namespace lm::test
