// A decoder run layer by layer computes what the whole model does.
#include "engine/model/layer_runner.h"

#include <cmath>

#include "quant/decode.h"
#include "tests/model/run_model.h"
#include "tests/reference/reference_decoder.h"
#include "tests/reference/tiny_model.h"

namespace lm::test {
namespace {

// Keeps what enters the output matrix.
class LastInput final : public ActivationObserver {
 public:
  bool wants(std::string_view tensor) override {
    return tensor == "output.weight" || tensor == "token_embd.weight";
  }
  void observe(const MatrixInput& input) override {
    rows.assign(input.rows.begin(), input.rows.end());
  }
  std::vector<float> rows;
};

std::vector<float> vector_of(const gguf::File& file, std::string_view name) {
  const gguf::TensorInfo* info = file.tensor(name);
  REQUIRE(info != nullptr);
  std::vector<float> values(size_t(info->dims[0]));
  decode(info->dtype, info->bytes.data(), values.data(), info->dims[0]);
  return values;
}

std::unique_ptr<Backend> cpu_backend() {
  Registry registry;
  registry.add(cpu::registry_entry());
  return require_ok(registry.open("cpu", {.n_threads = 2, .isa = {}}));
}

TEST_CASE("layer by layer gives the residual stream of the whole model") {
  for (const TinyModel& tiny : tiny_models()) {
    CAPTURE(tiny.name);
    const std::vector<std::byte> bytes = write_tiny_model(tiny).bytes();
    const gguf::File file = require_ok(gguf::File::parse(bytes));
    constexpr int kTokens = 45;  // more than a block
    LastInput whole;
    ModelRunner model(file, {.max_tokens = kTokens, .n_ctx = kTokens, .observer = &whole});
    const std::vector<TokenId> tokens = random_tokens(kTokens, model.n_vocab(), 9);
    model.run(tokens);

    const std::unique_ptr<Backend> backend = cpu_backend();
    LayerRunner layers = require_ok(LayerRunner::open(file, *backend, kTokens));
    const auto d_model = size_t(layers.config().d_model);
    std::vector<float> x(tokens.size() * d_model);
    require_ok(layers.embed(tokens, x));
    for (size_t i = 0; i < layers.config().layers.size(); ++i) {
      require_ok(layers.load(int(i), file));
      require_ok(layers.run(x));
    }
    // What enters the output matrix is x, normalised.
    const std::vector<float> weight = vector_of(file, "output_norm.weight");
    const float eps = layers.config().norm_eps;
    REQUIRE(whole.rows.size() == x.size());
    for (size_t t = 0; t < tokens.size(); ++t) {
      double squares = 0;
      for (size_t j = 0; j < d_model; ++j)
        squares += double(x[t * d_model + j]) * x[t * d_model + j];
      const double scale = 1 / std::sqrt(squares / double(d_model) + eps);
      for (size_t j = 0; j < d_model; ++j) {
        const double expected = x[t * d_model + j] * scale * weight[j];
        CHECK(std::fabs(whole.rows[t * d_model + j] - expected) < 1e-4);
      }
    }
  }
}

TEST_CASE("a token outside the vocabulary, or a layer that a file lacks, is refused") {
  const std::vector<std::byte> bytes = write_tiny_model(tiny_model("llama")).bytes();
  const gguf::File file = require_ok(gguf::File::parse(bytes));
  const std::unique_ptr<Backend> backend = cpu_backend();
  LayerRunner layers = require_ok(LayerRunner::open(file, *backend, 4));
  std::vector<float> x(size_t(layers.config().d_model));
  const TokenId bad[] = {layers.config().n_vocab};
  CHECK(!layers.embed(bad, x).ok());
  gguf::Writer empty;
  empty.set_u32("general.alignment", 32);
  const std::vector<std::byte> nothing = require_ok(empty.to_bytes({}));
  const gguf::File other = require_ok(gguf::File::parse(nothing));
  const Status status = layers.load(0, other);
  REQUIRE(!status.ok());
  CHECK(status.error().message.find("blk.0.attn_norm.weight") != std::string::npos);
}

}  // namespace
}  // namespace lm::test
