// engine/tools/layerwise.h — the methods of `llm quantize` that look at the model: GPTQ and AWQ,
// layer by layer. Each layer is watched by what the layers before it make of a calibration text
// after they were quantized; its Hessians tell how to quantize it. A finished layer is a file in a
// work folder, so that a run that was stopped goes on where it was, to the same bytes.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "backends/registry.h"
#include "engine/tools/layer_quantizer.h"
#include "engine/tools/quantize_method.h"

namespace lm {

struct LayerwiseOptions {
  LayerMethodOptions method{};
  std::string text{};  // calibration
  int n_ctx = 512;     // tokens of a sequence
  int max_sequences = 128;
  // Bytes for the Hessians of a layer's experts at a time; 0: a quarter of what is free.
  uint64_t hessian_budget = 0;
  std::filesystem::path work{};  // folder of finished layers; removed when the output is whole
  // What a user should know at once, a sentence: memory and time before it begins. May be empty.
  std::function<void(std::string_view)> announce{};
  std::function<void(uint64_t done, uint64_t total)> progress{};  // operations; may be empty
};

std::unique_ptr<QuantizeMethod> make_layerwise_method(const Registry& registry,
                                                      LayerwiseOptions options);

}  // namespace lm
