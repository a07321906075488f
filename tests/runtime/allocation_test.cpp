// Nothing is allocated inside a step: the loop runs on what was reserved when the model was opened.
#include <memory>
#include <vector>

#include "engine/runtime/scheduler.h"
#include "tests/runtime/support.h"
#include "tests/runtime/twin.h"
#include "tests/support/count_allocations.h"

namespace lm {
namespace {

TEST_CASE("a step and its sampling allocate nothing, in prefill and in decode") {
  struct Case {
    const char* architecture;
    bool split;
  };
  for (const auto& [architecture, split] :
       {Case{"llama", false}, Case{"gemma3", false}, Case{"qwen3moe", false},
        Case{"gpt-oss", false}, Case{"gemma3", true}, Case{"qwen3moe", true}}) {
    CAPTURE(architecture);
    CAPTURE(split);
    const test::ModelFile file(test::tiny_model(architecture));
    InstanceOptions options = test::options_for(file.path());
    if (split) options.place = {{"ffn_.*_exps", "cpu"}, {R"(blk\.0)", "cpu"}};
    const auto instance = split ? test::open_with_twin(options) : test::open(options);
    BlockTable table(instance->pool());
    REQUIRE(table.grow(120));
    const std::vector<TokenId> tokens(120, 5);
    std::vector<LogitRow> logits;
    logits.reserve(1);
    Sampler sampler(SamplingParams{});
    const auto step = [&](int first, int n) {
      const bool open = table.open_window(first, first + n);
      const StepRow row = {.tokens = std::span(tokens).subspan(size_t(first), size_t(n)),
                           .first_position = first,
                           .table = &table};
      return open && instance->compute(std::span(&row, 1), logits).ok() &&
             sampler.sample(logits[0], std::span(tokens).first(size_t(first))).token >= 0;
    };
    bool fine = step(0, 30) && step(30, 1);
    const long before = test::allocations;
    fine = fine && step(31, 64);
    for (int i = 95; i < 120; ++i) fine = fine && step(i, 1);
    CHECK(test::allocations == before);
    CHECK(fine);
  }
}

// The engine's thread has nobody to tell that memory is short.
TEST_CASE("sequences come, run and go where no memory is left") {
  BlockPool pool(8, 16);
  Scheduler scheduler(pool, 64, 2);
  scheduler.reserve(3);
  std::vector<std::unique_ptr<Sequence>> sequences;
  for (uint64_t id = 1; id <= 3; ++id) {
    Sequence& s = *sequences.emplace_back(std::make_unique<Sequence>(pool));
    s.id = s.user = id;
    s.tokens.assign(20, TokenId(id));
    s.table.reserve(20);
  }
  test::refuses_memory = true;
  for (const auto& s : sequences) scheduler.add(s.get());
  const size_t n_planned = scheduler.next().size();
  scheduler.completed(scheduler.next());
  for (const auto& s : sequences) scheduler.remove(s.get());
  const bool idle = scheduler.idle();
  test::refuses_memory = false;
  CHECK(n_planned == 2);
  CHECK(idle);
  CHECK(pool.free_blocks() == 8);
}

}  // namespace
}  // namespace lm
