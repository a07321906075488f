// llm eval's numbers against logits that others computed, with the formulas written out once more.
#include "engine/tools/eval.h"

#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>

#include "engine/core/file.h"
#include "gguf/file.h"
#include "tests/golden/expected_logits.h"

namespace lm::test {
namespace {

std::vector<double> probabilities(const Vec& logits) {
  double sum = 0;
  std::vector<double> p;
  for (const double v : logits) p.push_back(std::exp(v));  // tiny models: nothing overflows
  for (const double v : p) sum += v;
  for (double& v : p) v /= sum;
  return p;
}

std::unique_ptr<Instance> open(const InstanceOptions& options) {
  Registry registry;
  registry.add(cpu::registry_entry());
  return require_ok(Instance::open(registry, options));
}

InstanceOptions eval_options(const std::filesystem::path& path, int n_ctx) {
  InstanceOptions options;
  options.model_path = path;
  options.backend.n_threads = 1;
  options.kv_dtype = DType::f32;
  options.need_tokenizer = false;
  prepare_for_eval(n_ctx, options);
  return options;
}

size_t top_of(const std::vector<double>& p) {
  return size_t(std::ranges::max_element(p) - p.begin());
}

TEST_CASE("eval: perplexity and divergence of two models follow from their logits") {
  LM_FIXTURE(f32, "logits/tiny_llama_f32.gguf");
  LM_FIXTURE(f16, "logits/tiny_llama_f16.gguf");
  LM_FIXTURE(json, "logits/tiny_llama_logits.json");
  const Expected expected = read_expected(json);
  const gguf::File file = require_ok(gguf::File::open(f16));
  const ReferenceDecoder reference(file);
  constexpr size_t kCtx = 16;
  std::vector<TokenId> ids;
  std::vector<double> nll, base_nll, kl;
  size_t same = 0;
  for (size_t s = 0; s < expected.sequences.size(); ++s) {
    const std::vector<TokenId>& window = expected.sequences[s];
    REQUIRE(window.size() == kCtx);
    ids.insert(ids.end(), window.begin(), window.end());
    const std::vector<Vec> other = reference.logits(window);
    for (size_t i = kCtx / 2; i + 1 < kCtx; ++i) {
      const auto base = probabilities(expected.logits[s][i]);
      const auto p = probabilities(other[i]);
      const auto next = size_t(window[i + 1]);
      nll.push_back(-std::log(p[next]));
      base_nll.push_back(-std::log(base[next]));
      double divergence = 0;
      for (size_t v = 0; v < p.size(); ++v) divergence += base[v] * std::log(base[v] / p[v]);
      kl.push_back(divergence);
      same += top_of(base) == top_of(p) ? 1 : 0;
    }
  }
  const auto n = double(nll.size());
  const auto mean = [&](const std::vector<double>& values) {
    double sum = 0;
    for (const double v : values) sum += v;
    return sum / n;
  };
  const auto model = open(eval_options(f16, kCtx)), base = open(eval_options(f32, kCtx));
  const EvalReport report =
      require_ok(evaluate(*model, base.get(), ids, -1, {.n_ctx = int(kCtx), .n_threads = 2}));
  CHECK(report.n_windows == 3);
  CHECK(report.n_tokens == nll.size());
  const double perplexity = std::exp(mean(nll)), base_perplexity = std::exp(mean(base_nll));
  CHECK(report.perplexity.value == doctest::Approx(perplexity).epsilon(1e-5));
  REQUIRE(report.comparison);
  const Comparison& c = *report.comparison;
  CHECK(c.base_perplexity.value == doctest::Approx(base_perplexity).epsilon(1e-5));
  CHECK(c.kl.value == doctest::Approx(mean(kl)).epsilon(1e-2));  // 1e-6: of logits in f32
  CHECK(c.kl_quantiles.max == doctest::Approx(*std::ranges::max_element(kl)).epsilon(1e-2));
  CHECK(c.same_top.value == doctest::Approx(double(same) / n));
  CHECK(c.ratio.value == doctest::Approx(perplexity / base_perplexity).epsilon(1e-5));
  CHECK(c.difference.value == doctest::Approx(perplexity - base_perplexity).epsilon(1e-2));
  // The error of the paired difference: of the mean of the differences, not of the two means.
  double squares = 0;
  for (size_t i = 0; i < nll.size(); ++i)
    squares += std::pow(nll[i] - base_nll[i] - (mean(nll) - mean(base_nll)), 2);
  CHECK(c.log_ratio.error == doctest::Approx(std::sqrt(squares / n / (n - 1))).epsilon(1e-3));
  CHECK(c.difference.error ==
        doctest::Approx(perplexity * std::sqrt(squares / n / (n - 1))).epsilon(0.05));
  double variance = 0;
  for (const double v : nll) variance += std::pow(v - mean(nll), 2) / n;
  CHECK(report.perplexity.error ==
        doctest::Approx(perplexity * std::sqrt(variance / (n - 1))).epsilon(1e-4));
}

TEST_CASE("eval: a model against itself, and its KV cache in another format") {
  LM_FIXTURE(path, "models/stories260K/stories260K.gguf");
  const std::vector<TokenId> ids = random_tokens(300, 512, 4);
  const auto evaluated = [&](DType kv, int n_ctx, int windows, TokenId bos) {
    InstanceOptions options = eval_options(path, n_ctx);
    const auto base = open(options);
    options.kv_dtype = kv;
    const auto model = open(options);
    return require_ok(
        evaluate(*model, base.get(), ids, bos, {.n_ctx = n_ctx, .max_windows = windows}));
  };
  const EvalReport same = evaluated(DType::f32, 100, 0, -1);
  CHECK(same.n_windows == 3);
  CHECK(same.n_tokens == 3 * 49);
  CHECK(same.comparison->kl.value < 1e-9);
  CHECK(same.comparison->same_top.value == 1);
  CHECK(same.comparison->difference.value == 0);
  CHECK(same.comparison->difference.error < 1e-6);
  const EvalReport f16 = evaluated(DType::f16, 100, 0, -1);
  CHECK(f16.comparison->kl.value > 0);
  CHECK(f16.comparison->kl.value < 1e-5);
  CHECK(evaluated(DType::f32, 100, 1, -1).n_windows == 1);
  const EvalReport bos = evaluated(DType::f32, 100, 0, 1);
  CHECK(bos.perplexity.value != same.perplexity.value);
}

TEST_CASE("eval: what can't be measured") {
  LM_FIXTURE(path, "models/stories260K/stories260K.gguf");
  LM_FIXTURE(other, "logits/tiny_llama_f32.gguf");
  const auto model = open(eval_options(path, 64)), stranger = open(eval_options(other, 64));
  const std::vector<TokenId> ids = random_tokens(63, 512, 4);
  CHECK_FALSE(evaluate(*model, nullptr, ids, -1, {.n_ctx = 64}).ok());
  CHECK(evaluate(*model, nullptr, ids, -1, {.n_ctx = 63}).ok());
  CHECK_FALSE(evaluate(*model, nullptr, ids, -1, {.n_ctx = 2}).ok());
  CHECK_FALSE(evaluate(*model, stranger.get(), ids, -1, {.n_ctx = 32}).ok());
  int asked = 0;
  CHECK_FALSE(
      evaluate(*model, nullptr, ids, -1, {.n_ctx = 16, .stop = [&] { return ++asked > 1; }}).ok());
  // Weights that are no numbers, in the model or in its base.
  std::string bytes = require_ok(read_file(path, 1 << 28));
  const gguf::File file = require_ok(gguf::File::parse(std::as_bytes(std::span(bytes))));
  const auto at =
      reinterpret_cast<const char*>(file.tensor("output_norm.weight")->bytes.data()) - bytes.data();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::memcpy(bytes.data() + at, &nan, sizeof nan);
  const TempDir temp;
  std::ofstream(temp.path() / "nan.gguf", std::ios::binary) << bytes;
  const auto damaged = open(eval_options(temp.path() / "nan.gguf", 32));
  for (const auto& [one, base] :
       {std::pair(damaged.get(), static_cast<Instance*>(nullptr)),
        std::pair(damaged.get(), model.get()), std::pair(model.get(), damaged.get())}) {
    const Result<EvalReport> report = evaluate(*one, base, ids, -1, {.n_ctx = 32});
    REQUIRE_FALSE(report.ok());
    CHECK(report.error().code == ErrorCode::bad_file);
    CHECK(report.error().message.ends_with(one == model.get() ? "the base are damaged"
                                                              : "the model are damaged"));
  }
}

}  // namespace
}  // namespace lm::test
