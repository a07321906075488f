// The scheduling policy without a model: what is planned, and that nothing leaks or starves.
#include "engine/runtime/scheduler.h"

#include <algorithm>
#include <memory>
#include <set>
#include <vector>

#include "tests/support/support.h"

namespace lm {
namespace {

std::unique_ptr<Sequence> sequence(BlockPool& pool, uint64_t id, int n_prompt) {
  auto s = std::make_unique<Sequence>(pool);
  s->id = id;
  s->tokens.assign(size_t(n_prompt), 1);
  return s;
}

// Runs one step: every sequence that wanted logits gets one token.
std::vector<PlannedRow> run_step(Scheduler& scheduler) {
  const std::vector<PlannedRow> plan = scheduler.next();
  scheduler.completed(plan);
  for (const PlannedRow& row : plan) {
    if (row.wants_logits) row.sequence->tokens.push_back(1);
  }
  return plan;
}

TEST_CASE("a long prompt is computed in chunks, and only its last one wants logits") {
  BlockPool pool(10, 16);
  Scheduler scheduler(pool, 32, 4);
  const auto a = sequence(pool, 1, 70);
  scheduler.add(a.get());
  std::vector<int> chunks;
  for (int i = 0; i < 3; ++i) {
    const std::vector<PlannedRow> plan = run_step(scheduler);
    REQUIRE(plan.size() == 1);
    chunks.push_back(plan[0].n_tokens);
    CHECK(plan[0].wants_logits == (i == 2));
  }
  CHECK(chunks == std::vector<int>{32, 32, 6});
  CHECK(a->n_computed == 70);
  CHECK(run_step(scheduler)[0].n_tokens == 1);
  scheduler.remove(a.get());
  CHECK(pool.free_blocks() == 10);
}

TEST_CASE("decoding goes first; prefill gets the rest of the step") {
  BlockPool pool(100, 16);
  Scheduler scheduler(pool, 8, 4);
  const auto a = sequence(pool, 1, 3), b = sequence(pool, 2, 30), c = sequence(pool, 3, 5);
  scheduler.add(a.get());
  run_step(scheduler);
  scheduler.add(b.get());
  scheduler.add(c.get());
  for (const int chunk : {7, 7, 7, 7}) {
    const std::vector<PlannedRow> plan = run_step(scheduler);
    REQUIRE(plan.size() == 2);
    CHECK(plan[0].sequence == a.get());
    CHECK(plan[0].n_tokens == 1);
    CHECK(plan[1].sequence == b.get());
    CHECK(plan[1].n_tokens == chunk);
  }
  const std::vector<PlannedRow> plan = run_step(scheduler);  // b's last two, then c's first five
  REQUIRE(plan.size() == 3);
  CHECK(plan[1].n_tokens == 2);
  CHECK(plan[2].sequence == c.get());
  CHECK(plan[2].n_tokens == 5);
}

TEST_CASE("no more than max_seqs run; the others wait in order") {
  BlockPool pool(100, 16);
  Scheduler scheduler(pool, 64, 2);
  const auto a = sequence(pool, 1, 4), b = sequence(pool, 2, 4), c = sequence(pool, 3, 4);
  for (const auto* s : {&a, &b, &c}) scheduler.add(s->get());
  CHECK(run_step(scheduler).size() == 2);
  scheduler.remove(a.get());
  const std::vector<PlannedRow> plan = run_step(scheduler);
  REQUIRE(plan.size() == 2);
  CHECK(plan[0].sequence == b.get());
  CHECK(plan[1].sequence == c.get());
}

TEST_CASE("when blocks run out the youngest is recomputed later, and is first in the queue") {
  BlockPool pool(4, 4);
  Scheduler scheduler(pool, 64, 4);
  const auto a = sequence(pool, 1, 4), b = sequence(pool, 2, 4);
  scheduler.add(a.get());
  scheduler.add(b.get());
  for (int i = 0; i < 5; ++i) CHECK(run_step(scheduler).size() == 2);  // both hold two blocks
  REQUIRE(pool.free_blocks() == 0);
  const auto c = sequence(pool, 3, 4);
  scheduler.add(c.get());
  const std::vector<PlannedRow> plan = run_step(scheduler);
  REQUIRE(plan.size() == 1);
  CHECK(plan[0].sequence == a.get());
  CHECK(b->n_computed == 0);
  CHECK(b->tokens.size() == 9);
  CHECK(b->table.blocks().empty());
  CHECK(scheduler.preemptions() == 1);
  scheduler.remove(a.get());
  const std::vector<PlannedRow> after = run_step(scheduler);
  REQUIRE(after.size() == 1);  // b needs three blocks, and one stays free for it: c waits
  CHECK(after[0].sequence == b.get());
  CHECK(after[0].n_tokens == 9);
  CHECK(after[0].wants_logits);
}

TEST_CASE("a sequence that fits the pool exactly finishes alone") {
  BlockPool pool(3, 4);
  Scheduler scheduler(pool, 4, 4);
  const auto a = sequence(pool, 1, 5);
  scheduler.add(a.get());
  while (a->tokens.size() < 12) REQUIRE_FALSE(run_step(scheduler).empty());
  REQUIRE(run_step(scheduler).size() == 1);
  CHECK(pool.free_blocks() == 0);
  scheduler.remove(a.get());
  CHECK(scheduler.idle());
  CHECK(pool.free_blocks() == 3);
}

TEST_CASE("waiting sequences can be removed") {
  BlockPool pool(8, 4);
  Scheduler scheduler(pool, 8, 1);
  const auto a = sequence(pool, 1, 4), b = sequence(pool, 2, 4);
  scheduler.add(a.get());
  scheduler.add(b.get());
  run_step(scheduler);
  scheduler.remove(b.get());
  scheduler.remove(a.get());
  CHECK(scheduler.idle());
  CHECK(scheduler.next().empty());
}

// A world of random arrivals, lengths and cancellations around one scheduler.
struct World {
  BlockPool pool;
  int max_step_tokens, max_seqs;
  Scheduler scheduler;
  test::Random random;
  struct User {
    std::unique_ptr<Sequence> sequence;
    size_t final_length;
  };
  std::vector<User> users;  // unfinished, in order of arrival
  uint64_t arrivals = 0;

  World(uint64_t seed, int n_blocks, int block_size, int step_tokens, int seqs)
      : pool(n_blocks, block_size),
        max_step_tokens(step_tokens),
        max_seqs(seqs),
        scheduler(pool, step_tokens, seqs),
        random(seed) {}

  void arrive() {
    const size_t capacity = size_t(pool.n_blocks() * pool.block_size());
    const size_t final_length = 2 + random.below(capacity - 1);
    const int n_prompt = int(1 + random.below(final_length - 1));
    users.push_back({sequence(pool, ++arrivals, n_prompt), final_length});
    scheduler.add(users.back().sequence.get());
  }

  void leave(size_t i) {
    scheduler.remove(users[i].sequence.get());
    CHECK(users[i].sequence->table.blocks().empty());
    users.erase(users.begin() + std::ptrdiff_t(i));
  }

  void check(const std::vector<PlannedRow>& plan) {
    int n_tokens = 0;
    bool prefill = false;
    std::set<const Sequence*> planned;
    for (const PlannedRow& row : plan) {
      const Sequence& s = *row.sequence;
      REQUIRE(planned.insert(&s).second);
      REQUIRE(row.n_tokens >= 1);
      REQUIRE(s.n_computed + row.n_tokens <= int(s.tokens.size()));
      REQUIRE(s.table.capacity() >= s.n_computed + row.n_tokens);
      REQUIRE(row.wants_logits == (s.n_computed + row.n_tokens == int(s.tokens.size())));
      const bool decodes = int(s.tokens.size()) - s.n_computed == 1;
      REQUIRE_FALSE((decodes && prefill));  // decoding first
      prefill = prefill || !decodes;
      n_tokens += row.n_tokens;
    }
    REQUIRE(n_tokens <= max_step_tokens);
    REQUIRE(int(plan.size()) <= max_seqs);
    // The oldest never stands still: with it, everybody gets their turn.
    if (!users.empty()) REQUIRE(planned.contains(users[0].sequence.get()));
    check_blocks(planned);
  }

  void check_blocks(const std::set<const Sequence*>& planned) {
    std::set<BlockId> held;
    for (const User& user : users) {
      const Sequence& s = *user.sequence;
      for (const BlockId id : s.table.blocks()) REQUIRE(held.insert(id).second);
      const bool decodes = !s.table.blocks().empty() && int(s.tokens.size()) - s.n_computed == 1;
      if (decodes) REQUIRE(planned.contains(&s));  // nobody's stream stalls
    }
    REQUIRE(int(held.size()) + pool.free_blocks() == pool.n_blocks());
  }

  void step() {
    const std::vector<PlannedRow> plan = scheduler.next();
    check(plan);
    scheduler.completed(plan);
    for (const PlannedRow& row : plan) {
      if (row.wants_logits) row.sequence->tokens.push_back(1);
    }
    for (size_t i = users.size(); i-- > 0;) {
      if (users[i].sequence->tokens.size() >= users[i].final_length) leave(i);
    }
  }
};

TEST_CASE("random arrivals, lengths and cancels: nothing leaks, nobody starves") {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    CAPTURE(seed);
    test::Random sizes(seed);
    const int seqs = int(1 + sizes.below(6));
    World world(seed, int(1 + sizes.below(12)), int(2 + sizes.below(8)),
                seqs + int(sizes.below(20)), seqs);
    for (int i = 0; i < 300; ++i) {
      if (world.users.size() < 12 && world.random.below(3) == 0) world.arrive();
      if (!world.users.empty() && world.random.below(25) == 0) {
        world.leave(world.random.below(world.users.size()));
      }
      world.step();
    }
    int steps = 0;
    while (!world.users.empty()) {
      world.step();
      REQUIRE(++steps < 20000);
    }
    CHECK(world.scheduler.idle());
    CHECK(world.pool.free_blocks() == world.pool.n_blocks());
  }
}

}  // namespace
}  // namespace lm
