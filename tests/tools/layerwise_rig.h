// tests/tools/layerwise_rig.h — a tiny model, a text of random words, and a run of a method on
// them.
#pragma once
#include <filesystem>
#include <functional>
#include <string>
#include <utility>

#include "backends/cpu/cpu_backend.h"
#include "engine/core/file.h"
#include "engine/tools/layerwise.h"
#include "engine/tools/quantize.h"
#include "quant/decode.h"
#include "tests/reference/tiny_model.h"
#include "tests/support/support.h"

namespace lm::test {

inline Registry cpu_only() {
  Registry registry;
  registry.add(cpu::registry_entry());
  return registry;
}

inline std::string some_text(int n_words) {
  Random random(77);
  std::string text;
  for (int i = 0; i < n_words; ++i) {
    for (uint64_t n = 2 + random.below(6); n > 0; --n) text += char('a' + random.below(26));
    text += ' ';
  }
  return text;
}

struct LayerwiseRig {
  TempDir temp;
  std::filesystem::path in = temp.path() / "in.gguf", out = temp.path() / "out.gguf",
                        work = temp.path() / "work";
  Registry registry = cpu_only();
  std::string text = some_text(150);

  explicit LayerwiseRig(const TinyModel& model) { require_ok(write_tiny_model(model).save(in)); }

  LayerwiseOptions method(LayerMethod method) const {
    return {.method = {.method = method},
            .text = text,
            .n_ctx = 32,
            .max_sequences = 12,
            .work = work,
            .announce = {},
            .progress = {}};
  }
  Result<QuantizeReport> run(LayerwiseOptions options, std::string type = "q8_0",
                             std::function<bool()> stop = {}, int threads = 2) const {
    return quantize({.in = in,
                     .out = out,
                     .recipe = std::move(type),
                     .keep_head = true,
                     .allow_requantize = true,
                     .n_threads = threads,
                     .method = make_layerwise_method(registry, std::move(options)),
                     .stop = std::move(stop)});
  }
  std::string refusal(LayerwiseOptions options, std::string type = "q8_0") const {
    const Result<QuantizeReport> result = run(std::move(options), std::move(type));
    CHECK_FALSE(std::filesystem::exists(out));
    REQUIRE_FALSE(result.ok());
    CHECK(result.error().message.find('\n') == std::string::npos);
    return result.error().message;
  }
  std::string bytes() const { return require_ok(read_file(out, 1 << 28)); }
};

inline std::vector<float> numbers_of(const gguf::TensorInfo& tensor) {
  std::vector<float> values(tensor.bytes.size() / size_t(dtype_info(tensor.dtype).block_bytes) *
                            size_t(dtype_info(tensor.dtype).block_elems));
  decode(tensor.dtype, tensor.bytes.data(), values.data(), int64_t(values.size()));
  return values;
}

}  // namespace lm::test
