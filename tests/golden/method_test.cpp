// GPTQ and AWQ on a real trained model: nearer to it than rounding to nearest, on stories that they
// have not seen. The whole table: scripts/quantize_table --methods.
#include <optional>
#include <string>
#include <vector>

#include "engine/tools/convert.h"
#include "engine/tools/eval.h"
#include "engine/tools/group_rounding.h"
#include "engine/tools/layerwise.h"
#include "engine/tools/quantize.h"
#include "tests/runtime/support.h"

namespace fs = std::filesystem;

namespace lm::test {
namespace {

// Stories sampled from the model at temperature 1, one after the other; another seed, others.
std::vector<TokenId> tell_stories(const fs::path& model, int n_stories, int n_tokens,
                                  uint64_t seed) {
  InstanceOptions options = options_for(model);
  options.n_ctx = 0;
  options.max_seqs = 16;
  options.backend.n_threads = 2;
  const auto engine = Engine::start(open(options));
  const TokenId bos = engine->instance().tokenizer()->bos();
  std::vector<Listener> listeners(static_cast<size_t>(n_stories));
  for (Listener& listener : listeners) {
    Request request = sampled_request({bos}, n_tokens, seed++);
    listener.attach(request);
    require_ok(engine->submit(std::move(request)));
  }
  std::vector<TokenId> tokens;
  for (Listener& listener : listeners) {
    const Answer& answer = listener.wait();
    tokens.insert(tokens.end(), answer.tokens.begin(), answer.tokens.end());
  }
  return tokens;
}

struct Case {
  std::string type;
  std::optional<int> bits;  // of groups
};

constexpr int kContext = 256;

std::unique_ptr<Instance> open_for_eval(const fs::path& path) {
  InstanceOptions options = options_for(path);
  options.backend.n_threads = 2;
  prepare_for_eval(kContext, options);
  return open(options);
}

struct Trial {
  fs::path model, out;
  std::string calibration{};
  std::vector<TokenId> stories{};

  // The copy's KL divergence from the model; without a method, rounded to nearest.
  double divergence(const Case& one, std::optional<LayerMethod> method) const {
    const Registry registry = cpu_registry();
    QuantizeOptions options{
        .in = model, .out = out, .recipe = one.type, .keep_head = true, .n_threads = 2};
    if (method) {
      options.method =
          make_layerwise_method(registry, {.method = {.method = *method, .bits = one.bits},
                                           .text = calibration,
                                           .n_ctx = kContext,
                                           .work = out.native() + ".layers"});
    } else {
      options.method = one.bits ? make_group_rounding(*one.bits, false) : make_round_to_nearest();
    }
    require_ok(quantize(std::move(options)));
    CHECK_FALSE(fs::exists(out.native() + ".layers"));
    const auto copy = open_for_eval(out), base = open_for_eval(model);
    const EvalReport report = require_ok(
        evaluate(*copy, base.get(), stories, base->tokenizer()->bos(), {.n_ctx = kContext}));
    return report.comparison->kl.value;
  }
};

TEST_CASE("GPTQ and AWQ stay nearer to a trained model than rounding to nearest") {
  if (kSanitized) LM_SKIP("numbers only: left to builds without sanitizers");
  LM_FIXTURE(folder, "models/TinyStories-656K");
  const TempDir temp;
  Trial trial{.model = temp.path() / "f32.gguf", .out = temp.path() / "out.gguf"};
  require_ok(convert({.in = folder, .out = trial.model, .type = DType::f32, .progress = {}}));
  trial.calibration =
      open(options_for(trial.model))->tokenizer()->decode(tell_stories(trial.model, 40, 250, 1));
  trial.stories = tell_stories(trial.model, 24, 250, 1000);
  for (const Case& one : {Case{"i4g128", 4}, Case{"i4g128", 3}, Case{"q4_0", {}}}) {
    CAPTURE(one.type);
    CAPTURE(one.bits.value_or(4));
    const double rtn = trial.divergence(one, {});
    const double gptq = trial.divergence(one, LayerMethod::gptq);
    const double awq = trial.divergence(one, LayerMethod::awq);
    MESSAGE(one.type, ", ", one.bits.value_or(4), " bits: rtn ", rtn, ", gptq ", gptq, ", awq ",
            awq);
    CHECK(gptq < 0.95 * rtn);
    CHECK(awq < 0.95 * rtn);
  }
}

}  // namespace
}  // namespace lm::test
