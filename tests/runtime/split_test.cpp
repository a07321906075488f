// A model divided between a device and the CPU gives the answers of the CPU alone, bit for bit,
// whatever is where. The device computes as the CPU does, in a room of its own.
#include <vector>

#include "engine/runtime/engine.h"
#include "engine/runtime/kv_store.h"
#include "tests/runtime/support.h"
#include "tests/runtime/twin.h"

namespace lm {
namespace {

using test::Answer;
using test::ModelFile;

InstanceOptions options_for(const ModelFile& file) {
  InstanceOptions options = test::options_for(file.path());
  options.n_ctx = 256;
  options.max_seqs = 2;
  options.max_step_tokens = 24;
  return options;
}

Answer answer(std::unique_ptr<Instance> instance, uint64_t seed) {
  const auto engine = Engine::start(std::move(instance));
  return test::run(*engine, test::sampled_request(test::random_tokens(seed, 70, 200), 40, seed));
}

// A tied model, windows and experts; permuted columns are in test_model.
std::vector<test::TinyModel> models() {
  std::vector<test::TinyModel> found = {test::tiny_model("llama"), test::tiny_model("gemma3"),
                                        test::tiny_model("qwen3moe"), test::tiny_model("gpt-oss")};
  for (test::TinyModel& model : found) model.n_layers = 3;
  found.front().tied = true;
  return found;
}

TEST_CASE("split: any number of layers on the device gives the answer of the CPU") {
  for (const test::TinyModel& model : models()) {
    CAPTURE(model.name);
    const ModelFile file(model);
    InstanceOptions options = options_for(file);
    const Answer expected = answer(test::open(options), 3);
    const size_t n_layers = test::open(options)->config().layers.size();
    for (int n = kLayersThatFit; n <= int(n_layers) + 2; ++n) {
      CAPTURE(n);
      options.device_layers = n;
      auto instance = test::open_with_twin(options);
      const bool whole = n == kLayersThatFit || n > int(n_layers);
      const ModelPlan& plan = instance->plan();
      REQUIRE(plan.rooms.size() == (whole || n == 0 ? 1 : 2));
      CHECK(plan.rooms.front().device == (n == 0 ? "cpu" : "twin:0"));
      if (!whole && n > 0) {
        CHECK(plan.placement.attention(n_layers - size_t(n)) == 0);
        CHECK(plan.placement.attention(n_layers - size_t(n) - (n < int(n_layers) ? 1 : 0)) ==
              (n < int(n_layers) ? 1 : 0));
        CHECK(plan.placement.output() == 1);
      }
      CHECK(answer(std::move(instance), 3) == expected);
    }
  }
}

TEST_CASE("split: experts, attention or single tensors' parts elsewhere by rules") {
  for (const test::TinyModel& model : models()) {
    CAPTURE(model.name);
    const ModelFile file(model);
    InstanceOptions options = options_for(file);
    const Answer expected = answer(test::open(options), 4);
    for (const std::vector<PlaceRule>& rules : {
             std::vector<PlaceRule>{{"ffn_.*_exps", "cpu"}},
             {{"attn_", "cpu"}},
             {{R"(blk\.1\.)", "cpu"}, {"^token_embd", "cpu"}},
             {{".", "cpu"}, {"^output", "twin"}},
             {{"ffn", "cpu"}, {R"(blk\.0\.ffn)", "twin:0"}},
         }) {
      CAPTURE(rules.front().pattern);
      options.place = rules;
      auto instance = test::open_with_twin(options);
      const bool without = model.n_experts == 0 && rules.front().pattern == "ffn_.*_exps";
      CHECK(instance->plan().rooms.size() == (without ? 1 : 2));
      CHECK(answer(std::move(instance), 4) == expected);
    }
  }
}

TEST_CASE("split: a room may record its part of a step") {
  const ModelFile file(test::tiny_model("llama"));
  InstanceOptions options = options_for(file);
  const auto n_runs = [&](int device_layers) {
    options.device_layers = device_layers;
    const auto instance = test::open_with_twin(options);
    BlockTable table(instance->pool());
    REQUIRE(table.grow(3));
    const std::vector<TokenId> tokens = {1, 2, 3};
    const StepRow row{.tokens = tokens, .first_position = 0, .table = &table};
    test::require_ok(instance->step(std::span(&row, 1)));
    return static_cast<test::RoomBackend&>(instance->backend()).n_runs;
  };
  CHECK(n_runs(9) == 1);
  CHECK(n_runs(1) == 1);
}

TEST_CASE("split: what the disk keeps belongs to one placement") {
  const ModelFile file(test::tiny_model("gemma3"));
  const test::TempDir folder;
  const std::vector<TokenId> prompt = test::random_tokens(1, 100, 200);
  const auto loaded = [&](int device_layers) {
    InstanceOptions options = options_for(file);
    options.device_layers = device_layers;
    EngineOptions engine_options;
    engine_options.disk = test::require_ok(DiskCache::open({.folder = folder.path()}));
    const auto engine = Engine::start(test::open_with_twin(options), std::move(engine_options));
    return test::run(*engine, test::sampled_request(prompt, 2, 5)).timings.loaded_tokens;
  };
  CHECK(loaded(1) == 0);
  CHECK(loaded(1) == 99);
  CHECK(loaded(2) == 0);
  CHECK(loaded(0) == 0);
  CHECK(loaded(9) == 0);
  CHECK(loaded(2) == 99);
}

}  // namespace
}  // namespace lm
