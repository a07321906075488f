// How long drafts are, on machines and texts that are made up: no clock is asked.
#include "engine/runtime/draft_policy.h"

#include <algorithm>
#include <functional>
#include <vector>

#include "tests/support/support.h"

namespace lm {
namespace {

struct Guesser final : Drafter {
  explicit Guesser(double expected) : prior_(expected) {}
  std::string_view name() const override { return "guesser"; }
  DraftOutlook look(uint64_t, std::span<const TokenId>) override { return {.draft_class = 0}; }
  Status draft(std::span<const DraftTask>) override { return ok(); }
  void forget(uint64_t) override {}
  double prior(int, int) const override { return prior_; }
  const StepTimes* step_times() const override { return times_.known() ? &times_ : nullptr; }

  double prior_;
  StepTimes times_;
};

// One sequence on a machine on which `rows` rows take cost(rows) seconds.
struct World {
  std::function<double(int rows)> cost;
  double draft_cost = 0;  // of a token
  double right = 0.5;     // how often a drafted token is
  double noise = 0;       // of measurements, a part

  double tokens = 0, seconds = 0;
  test::Random random{7};

  void run(DraftPolicy& policy, Guesser& drafter, int n_steps) {
    Acceptance sequence;
    int backlog = 1;
    for (int step = 0; step < n_steps; ++step) {
      DraftChoice choice{&sequence, {0, backlog}, 1000, 0};
      policy.choose({&choice, 1}, 0, 32);
      const auto measured = [&](double t) { return t * (1 + random.uniform(0, float(noise))); };
      int accepted = 0;
      const auto is_right = [&] { return random.uniform(0, 1) < float(right); };
      while (accepted < choice.length && is_right()) ++accepted;
      for (int i = 0; i < choice.length && draft_cost > 0; ++i) {
        drafter.times_.note(i == 0 ? backlog : 1, measured(draft_cost));
        seconds += draft_cost;
      }
      backlog = choice.length == 0 ? backlog + 1 : accepted == choice.length ? 2 : 1;
      seconds += cost(1 + choice.length);
      tokens += 1 + accepted;
      policy.note_step(1 + choice.length, 0, measured(cost(1 + choice.length)),
                       draft_cost * choice.length);
      if (choice.length > 0) {
        policy.note_draft(sequence, 0, accepted, accepted < choice.length);
      }
    }
  }
  double speed_up() const { return tokens / seconds * cost(1); }
};

double speed_up(World world, double prior, int n_steps = 500) {
  Guesser drafter(prior);
  if (world.draft_cost > 0) drafter.times_.note(1, world.draft_cost);
  DraftPolicy policy(drafter);
  world.run(policy, drafter, n_steps);
  return world.speed_up();
}

double cheap_rows(int rows) {
  return 0.01 * (1 + 0.1 * (rows - 1));
}
double dear_rows(int rows) {
  return 0.01 * rows;
}
double rows_by_four(int rows) {  // a machine that works on four rows at once
  return 0.01 * (0.7 + 0.3 * double((rows + 3) / 4));
}

TEST_CASE("drafts that come true pay, the more the cheaper a row is") {
  for (const double noise : {0.0, 0.3}) {
    CHECK(speed_up({.cost = cheap_rows, .right = 0.95, .noise = noise}, 0.7) > 3.5);
    CHECK(speed_up({.cost = cheap_rows, .right = 0.8, .noise = noise}, 0.7) > 2);
    CHECK(speed_up({.cost = rows_by_four, .right = 0.8, .noise = noise}, 0.7) > 2);
    CHECK(speed_up({.cost = cheap_rows, .right = 0.95, .noise = noise}, 0.1) > 1.5);  // a surprise
  }
}

TEST_CASE("drafts that don't, and rows that are dear, cost next to nothing") {
  for (const double prior : {0.1, 0.5, 0.9}) {
    CAPTURE(prior);
    CHECK(speed_up({.cost = cheap_rows, .right = 0}, prior) > 0.98);
    CHECK(speed_up({.cost = cheap_rows, .right = 0.05, .noise = 0.2}, prior) > 0.97);
    CHECK(speed_up({.cost = dear_rows, .right = 0.5, .noise = 0.2}, prior) > 0.97);
    CHECK(speed_up({.cost = dear_rows, .right = 0.9}, prior) > 0.97);
  }
}

TEST_CASE("a draft model's own time counts") {
  World world = {.cost = cheap_rows, .draft_cost = 0.001, .right = 0.9, .noise = 0.1};
  CHECK(speed_up(world, 0.7) > 1.8);
  world.right = 0;
  CHECK(speed_up(world, 0.7) > 0.97);
  world.right = 0.9;
  world.draft_cost = 0.02;  // slower than the model it drafts for
  CHECK(speed_up(world, 0.7) > 0.97);
}

TEST_CASE("what did not pay is tried again, and what did is given up") {
  Guesser drafter(0.5);
  DraftPolicy policy(drafter);
  World bad = {.cost = cheap_rows, .right = 0};
  bad.run(policy, drafter, 1000);
  World good = {.cost = cheap_rows, .right = 0.95};
  good.run(policy, drafter, 1000);
  CHECK(good.speed_up() > 2.5);
  World bad_again = {.cost = cheap_rows, .right = 0};
  bad_again.run(policy, drafter, 1000);
  CHECK(bad_again.speed_up() > 0.97);
}

TEST_CASE("of several sequences those draft whose drafts come true, within the rows there are") {
  Guesser drafter(0.5);
  DraftPolicy policy(drafter);
  Acceptance good, bad;
  for (int i = 0; i < 100; ++i) {
    for (int rows = 1; rows <= 40; ++rows) policy.note_step(rows, 0, cheap_rows(rows), 0);
    policy.note_draft(good, 0, 8, false);
    policy.note_draft(bad, 0, 0, true);
  }
  std::vector<DraftChoice> choices = {{&bad, {0, 1}, 100, 0},
                                      {&good, {0, 1}, 100, 0},
                                      {&good, {0, 1}, 3, 0},
                                      {&good, {-1, 1}, 100, 0}};
  policy.choose(choices, 0, 32);
  CHECK(choices[0].length <= 1);
  CHECK(choices[1].length > 4);
  CHECK(choices[1].length <= kMaxDraft);
  CHECK(choices[2].length == 3);
  CHECK(choices[3].length == 0);
  policy.choose(choices, 0, 5);
  CHECK(choices[0].length + choices[1].length + choices[2].length <= 5);
  policy.choose(choices, 0, 0);
  for (const DraftChoice& choice : choices) CHECK(choice.length == 0);
  // Beside a long prompt a few rows more hardly matter.
  policy.note_step(4, 500, 1.0, 0);
  policy.choose(choices, 500, 32);
  CHECK(choices[1].length > 8);
}

TEST_CASE("step times: the median of the last, never more than a larger step, lines between") {
  StepTimes times;
  CHECK_FALSE(times.known());
  for (const double t : {1.0, 9.0, 1.2, 1.1, 1.0}) times.note(1, t);
  CHECK(times.known());
  CHECK(times.seconds(1) == doctest::Approx(1.1));
  CHECK(times.seconds(3) > times.seconds(2));
  times.note_prompt(512, 52.2);  // a tenth of a second a row
  CHECK(times.seconds(3) == doctest::Approx(1.3));
  times.note(5, 2.1);
  CHECK(times.seconds(3) == doctest::Approx(1.6));
  CHECK(times.seconds(5) == doctest::Approx(2.1));
  CHECK_FALSE(times.fresh(3));
  CHECK(times.fresh(5));
  times.note(3, 50.0);  // noise
  CHECK(times.seconds(3) == doctest::Approx(2.1));
  for (int i = 0; i < 300; ++i) times.note(1, 1.1);
  CHECK_FALSE(times.fresh(5));
  times.note(0, 1.0);  // nothing to learn from
  times.note(1000, 1.0);
  times.note(2, -1.0);
  CHECK(times.seconds(5) == doctest::Approx(2.1));
  CHECK(times.seconds(64) > times.seconds(5));
  CHECK(times.seconds(1000) > times.seconds(64));
}

}  // namespace
}  // namespace lm
