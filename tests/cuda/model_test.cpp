// Whole models on the CUDA backend: every family against the double-precision decoder, and answers
// that do not depend on company, drafts or what was kept of earlier prompts.
#include <vector>

#include "backends/cuda/cuda_backend.h"
#include "quant/encode.h"
#include "tests/cuda/rig.h"
#include "tests/reference/reference_decoder.h"
#include "tests/runtime/support.h"

namespace lm::test {
namespace {

// Weights that are not in blocks, keys and values in f32: rounding only, in steps of few rows.
constexpr double kFloatTolerance = 1e-4;
// Longer steps multiply halves: each number is off by up to 2^-12, a product by 2^-11 = 0.05 %, and
// so are the scores of attention. Those of gemma3, whose queries and keys are normalised, reach 30:
// the weights of a softmax are then off by 1.5 %.
constexpr double kHalfTolerance = 0.02;
// 8-bit activations: see tests/model/forward_test.cpp.
constexpr double kBlockTolerance = 0.052;

Registry cuda_registry() {
  Registry registry;
  registry.add(cuda::registry_entry());
  return registry;
}

bool have_cuda() {
  return open_cuda() != nullptr;
}

InstanceOptions cuda_options(const std::filesystem::path& path) {
  InstanceOptions options = options_for(path);
  options.device = "cuda";
  return options;
}

// Logits of every position, in steps of `chunk` tokens.
std::vector<float> logits_of(const InstanceOptions& options, std::span<const TokenId> tokens,
                             int chunk) {
  InstanceOptions wanted = options;
  wanted.max_step_tokens = chunk;
  wanted.max_step_logits = chunk;
  const auto instance = require_ok(Instance::open(cuda_registry(), wanted));
  BlockTable table(instance->pool());
  std::vector<float> all;
  for (int first = 0; first < int(tokens.size()); first += chunk) {
    const int n = std::min(chunk, int(tokens.size()) - first);
    REQUIRE(table.prepare(first, first + n));
    const StepRow row{.tokens = tokens.subspan(size_t(first), size_t(n)),
                      .first_position = first,
                      .table = &table,
                      .n_logits = n};
    const std::span<float> logits = require_ok(instance->step(std::span(&row, 1)));
    all.insert(all.end(), logits.begin(), logits.end());
  }
  return all;
}

TEST_CASE("CUDA: every family equals the reference decoder") {
  if (!have_cuda()) LM_SKIP("no CUDA device");
  for (const TinyModel& tiny : tiny_models()) {
    CAPTURE(tiny.name);
    const ModelFile file(tiny);
    const ReferenceDecoder reference(require_ok(gguf::File::open(file.path())), 400);
    const std::vector<TokenId> tokens = random_tokens(5, 40, int(reference.n_vocab()));
    const std::vector<Vec> expected = reference.logits(tokens);
    const bool blocks = tiny.mxfp4_experts;
    CHECK(worst_error(logits_of(cuda_options(file.path()), tokens, 7), expected) <
          (blocks ? kBlockTolerance : kFloatTolerance));
    CHECK(worst_error(logits_of(cuda_options(file.path()), tokens, 40), expected) <
          (blocks ? kBlockTolerance : kHalfTolerance));
  }
}

TEST_CASE("CUDA: every format of weights and of the cache") {
  if (!have_cuda()) LM_SKIP("no CUDA device");
  for (int type = 0; type < kDTypeCount; ++type) {
    const DType dtype = DType(type);
    const int block = dtype_info(dtype).block_elems;
    if (block == 1 || !can_encode(dtype)) continue;  // others: linear_test.cpp
    CAPTURE(std::string(dtype_name(dtype)));
    // (Experts would be chosen otherwise where two scores are as close as activations are rounded.)
    const ModelFile file(widened(tiny_model("llama"), dtype));
    const ReferenceDecoder reference(require_ok(gguf::File::open(file.path())), 400);
    const std::vector<TokenId> tokens = random_tokens(6, 24, int(reference.n_vocab()));
    const std::vector<Vec> expected = reference.logits(tokens);
    InstanceOptions options = cuda_options(file.path());
    options.kv_dtype = type % 3 == 0 ? DType::f16 : type % 3 == 1 ? DType::q8_0 : DType::f32;
    CHECK(worst_error(logits_of(options, tokens, 5), expected) < kBlockTolerance);
    CHECK(worst_error(logits_of(options, tokens, 24), expected) < kBlockTolerance);
  }
}

TEST_CASE("CUDA: an answer is the same alone, in company, drafted for and continued") {
  if (!have_cuda()) LM_SKIP("no CUDA device");
  const ModelFile file(widened(tiny_model("llama"), DType::q4_0));
  InstanceOptions options = cuda_options(file.path());
  options.max_seqs = 3;
  options.max_step_tokens = 12;  // and the drafts: no step is longer than what decoding does
  options.draft_rows = 4;
  options.kv_dtype = DType::f16;
  const auto request = [](uint64_t seed) {
    std::vector<TokenId> prompt = random_tokens(seed, 4, 300);
    prompt.insert(prompt.end(), prompt.begin(), prompt.end());  // something to draft from
    Request made = sampled_request(std::move(prompt), 12, seed);
    made.sampling.top_k = 20;
    return made;
  };
  std::vector<Answer> alone;
  {
    const auto engine = Engine::start(require_ok(Instance::open(cuda_registry(), options)));
    for (uint64_t seed = 1; seed <= 3; ++seed) alone.push_back(run(*engine, request(seed)));
    CHECK(run(*engine, request(1)) == alone[0]);  // its prompt is in the cache now
  }
  EngineOptions drafting;
  drafting.speculation.drafter = make_ngram_drafter();
  const auto engine =
      Engine::start(require_ok(Instance::open(cuda_registry(), options)), std::move(drafting));
  std::vector<Listener> listeners(3);
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    Request asked = request(seed);
    listeners[seed - 1].attach(asked);
    require_ok(engine->submit(std::move(asked)));
  }
  for (size_t i = 0; i < 3; ++i) CHECK(listeners[i].wait() == alone[i]);
}

TEST_CASE("CUDA: steps that run ahead of the host, recorded and not, change no answer") {
  if (!have_cuda()) LM_SKIP("no CUDA device");
  const ModelFile file(widened(tiny_model("llama"), DType::q4_0));
  const auto answers = [&](bool ahead, bool record, uint64_t& steps_ahead) {
    InstanceOptions options = cuda_options(file.path());
    options.max_seqs = 3;
    options.max_step_tokens = 12;
    options.backend.run_ahead = ahead;
    options.backend.record_steps = record;
    const auto engine = Engine::start(require_ok(Instance::open(cuda_registry(), options)));
    std::vector<Listener> listeners(4);
    for (uint64_t i = 0; i < 4; ++i) {
      Request asked;
      asked.prompt = random_tokens(i, 4, 300);
      asked.max_tokens = int(20 + 7 * i);
      asked.ignore_end = true;
      asked.sampling.seed = i;
      if (i == 1) asked.sampling.temperature = 0;
      listeners[i].attach(asked);
      require_ok(engine->submit(std::move(asked)));
    }
    std::vector<Answer> all;
    for (Listener& listener : listeners) all.push_back(listener.wait());
    steps_ahead = engine->totals().steps_ahead;
    return all;
  };
  uint64_t none = 0, recorded = 0, plain = 0;
  const std::vector<Answer> expected = answers(false, true, none);
  CHECK(none == 0);
  for_each_schedule([&] {
    CHECK(answers(true, true, recorded) == expected);
    CHECK(answers(true, false, plain) == expected);
    CHECK((recorded > 20 && plain > 20));
  });
}

}  // namespace
}  // namespace lm::test
