// The scheduling policy without a model: what is planned, and that nothing leaks or starves.
#include "engine/runtime/scheduler.h"

#include <memory>
#include <vector>

#include "tests/support/support.h"

namespace lm {
namespace {

// Tokens that no other sequence has.
TokenId own_token(const Sequence& s, size_t position) {
  return TokenId(s.id * 10000 + position);
}

std::unique_ptr<Sequence> sequence(BlockPool& pool, uint64_t id, int n_prompt) {
  auto s = std::make_unique<Sequence>(pool);
  s->id = id;
  for (size_t i = 0; i < size_t(n_prompt); ++i) s->tokens.push_back(own_token(*s, i));
  return s;
}

void append_token(Sequence& s) {
  s.tokens.push_back(own_token(s, s.tokens.size()));
}

// Runs one step: every sequence that wanted logits gets one token.
std::vector<PlannedRow> run_step(Scheduler& scheduler) {
  const std::vector<PlannedRow> plan = scheduler.next();
  scheduler.completed(plan);
  for (const PlannedRow& row : plan) {
    if (row.wants_logits) append_token(*row.sequence);
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
  CHECK(after[0].n_tokens == 5);  // a block of it had not been needed by others
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

TEST_CASE("a short prompt is not held up by a long one that came first") {
  BlockPool pool(100, 16);
  Scheduler scheduler(pool, 64, 4);
  const auto a = sequence(pool, 1, 500), b = sequence(pool, 2, 40), c = sequence(pool, 3, 8);
  for (const auto* s : {&a, &b, &c}) scheduler.add(s->get());
  const std::vector<PlannedRow> plan = run_step(scheduler);
  REQUIRE(plan.size() == 2);
  CHECK(plan[0].n_tokens == 32);
  CHECK(plan[1].n_tokens == 32);
  const std::vector<PlannedRow> second = run_step(scheduler);
  REQUIRE(second.size() == 3);  // b's last eight, and what it leaves
  CHECK(second[0].n_tokens + second[1].n_tokens + second[2].n_tokens == 64);
  CHECK(second[2].n_tokens == 8);
}

TEST_CASE("a long prompt holds up the others' streams for a chunk at most") {
  BlockPool pool(300, 16);
  Scheduler scheduler(pool, 512, 4);
  const auto a = sequence(pool, 1, 4), b = sequence(pool, 2, 4000);
  scheduler.add(a.get());
  run_step(scheduler);
  scheduler.add(b.get());
  while (b->n_computed < 4000) {
    const std::vector<PlannedRow> plan = run_step(scheduler);
    REQUIRE(plan.size() == 2);
    CHECK(plan[0].sequence == a.get());
    CHECK(plan[1].n_tokens <= 128);
  }
}

TEST_CASE("users take turns, however much one of them asks for") {
  BlockPool pool(400, 16);
  Scheduler scheduler(pool, 64, 1);
  std::vector<std::unique_ptr<Sequence>> greedy;
  for (uint64_t i = 0; i < 10; ++i) {
    greedy.push_back(sequence(pool, 1 + i, 20));
    scheduler.add(greedy.back().get());
  }
  run_step(scheduler);
  const auto modest = sequence(pool, 100, 20), later = sequence(pool, 101, 20);
  modest->user = 7;
  later->user = 7;
  scheduler.add(modest.get());
  scheduler.add(later.get());
  std::vector<uint64_t> order;
  for (int i = 0; i < 12; ++i) {
    Sequence* running = run_step(scheduler)[0].sequence;
    order.push_back(running->id);
    scheduler.remove(running);
  }
  CHECK(order == std::vector<uint64_t>{1, 100, 2, 101, 3, 4, 5, 6, 7, 8, 9, 10});
}

TEST_CASE("who waits is not overtaken for ever by ever new users") {
  BlockPool pool(400, 16);
  Scheduler scheduler(pool, 64, 1);
  std::vector<std::unique_ptr<Sequence>> all;
  for (uint64_t i = 0; i < 3; ++i) {
    all.push_back(sequence(pool, 1 + i, 20));
    scheduler.add(all.back().get());
  }
  const Sequence* last = all.back().get();
  int steps = 0;
  for (Sequence* running = nullptr; running != last; ++steps) {
    REQUIRE(steps < 2000);
    all.push_back(sequence(pool, uint64_t(100 + steps), 20));
    all.back()->user = uint64_t(100 + steps);
    scheduler.add(all.back().get());
    running = run_step(scheduler)[0].sequence;
    scheduler.remove(running);
  }
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

}  // namespace
}  // namespace lm
