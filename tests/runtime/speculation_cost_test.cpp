// What drafts cost on a device that steps without them never wait for: the times are made up.
#include "engine/runtime/speculation.h"
#include "tests/runtime/late_instance.h"

namespace lm {
namespace {

test::Lateness lateness;  // for BackendEntry::open, a plain function

struct Guesser final : Drafter {
  std::string_view name() const override { return "guesser"; }
  DraftOutlook look(uint64_t, std::span<const TokenId>) override { return {.draft_class = 0}; }
  Status draft(std::span<const DraftTask> tasks) override {
    for (const DraftTask& task : tasks) task.draft->assign(size_t(task.length), 1);
    return ok();
  }
  void forget(uint64_t) override {}
  double prior(int, int) const override { return 0.3; }
};

// Of 1000 steps, those with drafts, of whose tokens three in ten are right. A row more takes a
// tenth of a step, and the host half a step, which only a step that was launched ahead hides.
int n_with_drafts(Instance& instance) {
  Speculation speculation(instance, {std::make_unique<Guesser>(), 0});
  Sequence sequence(instance.pool());
  sequence.tokens = {5, 6, 7};
  sequence.n_computed = 2;
  REQUIRE(sequence.table.grow(3));
  const Sampler sampler(SamplingParams(), nullptr);
  const DecodingRow row{&sequence, &sampler, 100};
  int n_drafts = 0;
  bool ahead = false;
  for (int i = 0; i < 1000; ++i) {
    speculation.propose({&row, 1}, 0, 8, ahead);
    const bool was_ahead = ahead;
    ahead = instance.runs_ahead() && speculation.quiet();
    const int length = int(speculation.draft(0).size());
    CHECK_FALSE((length > 0 && (ahead || was_ahead)));
    n_drafts += length > 0 ? 1 : 0;
    speculation.note_step(1 + 0.1 * length, was_ahead ? 0 : 0.5);
    const bool right = i * 7 % 10 < 3 && length > 0;
    speculation.note_draft(0, right ? 1 : 0, !right);
  }
  return n_drafts;
}

TEST_CASE(
    "a draft that pays beside steps that wait for the host does not beside those that don't") {
  const test::ModelFile file(test::tiny_model("llama"));
  InstanceOptions options = test::options_for(file.path());
  options.draft_rows = 8;
  CHECK(n_with_drafts(*test::open(options)) > 800);
  const auto late = test::open_late<lateness>(options);
  REQUIRE(late->runs_ahead());
  CHECK(n_with_drafts(*late) < 50);
}

}  // namespace
}  // namespace lm
