// tests/tools/float_logits.h — what a model computes where no activation is rounded to 8 bits.
#pragma once
#include <filesystem>
#include <vector>

#include "engine/tools/quantize.h"
#include "tests/model/run_model.h"

namespace lm::test {

// The logits with every matrix spelled out as f32: those are multiplied with f32 activations.
inline std::vector<float> float_logits(const std::filesystem::path& model,
                                       const std::vector<TokenId>& tokens) {
  const TempDir temp;
  const std::filesystem::path spelled = temp.path() / "f32.gguf";
  require_ok(quantize({.in = model, .out = spelled, .recipe = "f32", .allow_requantize = true}));
  return ModelRunner(require_ok(gguf::File::open(spelled)), {}).run(tokens);
}

}  // namespace lm::test
