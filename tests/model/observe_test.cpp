// A backend that shows what enters matrices: it shows all of it, and changes nothing.
#include <cmath>
#include <map>
#include <string>

#include "quant/decode.h"
#include "tests/model/run_model.h"
#include "tests/reference/reference_decoder.h"
#include "tests/reference/tiny_model.h"

namespace lm::test {
namespace {

class Recorder final : public ActivationObserver {
 public:
  bool wants(std::string_view tensor) override { return tensor != unwanted; }
  void observe(const MatrixInput& input) override {
    CHECK(input.rows.size() == size_t(input.n * input.k));
    CHECK(input.expert < input.n_experts);
    std::vector<float>& all = rows[{std::string(input.tensor), input.expert}];
    all.insert(all.end(), input.rows.begin(), input.rows.end());
  }

  std::string unwanted;
  std::map<std::pair<std::string, int>, std::vector<float>> rows;
};

std::vector<float> numbers(const gguf::File& file, std::string_view name) {
  const gguf::TensorInfo* info = file.tensor(name);
  REQUIRE(info != nullptr);
  std::vector<float> values(size_t(info->dims[0] * info->dims[1]));
  decode(info->dtype, info->bytes.data(), values.data(), int64_t(values.size()));
  return values;
}

constexpr int kTokens = 20;

TEST_CASE("an observed model computes what it computes unobserved") {
  for (const TinyModel& tiny : tiny_models()) {
    CAPTURE(tiny.name);
    const std::vector<std::byte> bytes = write_tiny_model(tiny).bytes();
    const gguf::File file = require_ok(gguf::File::parse(bytes));
    const ReferenceDecoder reference(file);
    const std::vector<TokenId> tokens = random_tokens(kTokens, int(reference.n_vocab()), 3);
    Recorder recorder;
    ModelRunner plain(file, {.max_tokens = 7});
    ModelRunner observed(file, {.max_tokens = 7, .observer = &recorder});
    const std::vector<float> expected = plain.run(tokens), got = observed.run(tokens);
    if (tiny.n_experts == 0) {
      CHECK(got == expected);
    } else {
      CHECK(worst_error(got, reference.logits(tokens)) < 1e-5);
    }
    // Every matrix was shown all its rows: the tokens, or the choices of its experts.
    std::map<std::string, size_t> rows;
    for (const auto& [key, values] : recorder.rows) {
      const gguf::TensorInfo* info = file.tensor(key.first);
      const size_t cols = info != nullptr ? size_t(info->dims[0]) : 0;
      if (cols > 0) rows[key.first] += values.size() / cols;
    }
    for (const gguf::TensorInfo& info : file.tensors()) {
      if (info.n_dims < 2 || !info.name.starts_with("blk.") || info.name.ends_with(".bias"))
        continue;
      CAPTURE(info.name);
      const bool apart = tiny.experts_apart && info.name.find(".ffn_") != std::string_view::npos;
      const bool expert = info.n_dims == 3, joined = info.name.ends_with("attn_qkv.weight"),
                 both = tiny.architecture == "phi3" && info.name.ends_with("ffn_up.weight");
      const int times = expert ? tiny.top_k : joined ? 3 : both ? 2 : 1;
      if (!apart) CHECK(rows[std::string(info.name)] == size_t(kTokens * times));
    }
  }
}

TEST_CASE("what is shown is the normalised embedding, in the first layer") {
  const TinyModel tiny = tiny_model("llama");
  const std::vector<std::byte> bytes = write_tiny_model(tiny).bytes();
  const gguf::File file = require_ok(gguf::File::parse(bytes));
  Recorder recorder;
  recorder.unwanted = "blk.0.attn_v.weight";
  ModelRunner runner(file, {.observer = &recorder});
  const std::vector<TokenId> tokens{3, 1, 4};
  runner.run(tokens);
  CHECK(recorder.rows.count({"blk.0.attn_v.weight", 0}) == 0);
  const std::vector<float>& seen = recorder.rows[{"blk.0.attn_q.weight", 0}];
  CHECK(seen == recorder.rows[{"blk.0.attn_k.weight", 0}]);
  const auto d = size_t(tiny.d_model);
  REQUIRE(seen.size() == tokens.size() * d);
  const std::vector<float> table = numbers(file, "token_embd.weight"),
                           norm = numbers(file, "blk.0.attn_norm.weight");
  const double eps = require_ok(file.f32("llama.attention.layer_norm_rms_epsilon"));
  for (size_t t = 0; t < tokens.size(); ++t) {
    const float* x = table.data() + size_t(tokens[t]) * d;
    double squares = 0;
    for (size_t j = 0; j < d; ++j) squares += double(x[j]) * x[j];
    const double scale = 1 / std::sqrt(squares / double(d) + eps);
    for (size_t j = 0; j < d; ++j)
      CHECK(seen[t * d + j] == doctest::Approx(x[j] * scale * norm[j]).epsilon(1e-5));
  }
}

}  // namespace
}  // namespace lm::test
