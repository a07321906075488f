// How long a context the memory allows, and how a refusal reads.
#include "engine/runtime/memory_plan.h"

#include <limits>

#include "tests/support/support.h"

namespace lm {
namespace {

constexpr uint64_t kMiB = 1 << 20;

MemoryWish wish() {
  MemoryWish w;
  w.n_ctx_train = 4096;
  w.block_size = 32;
  w.block_bytes = 1 * kMiB;
  w.weight_bytes = 100 * kMiB;
  w.memory_bytes = 1100 * kMiB;
  return w;
}

TEST_CASE("without a wish, the context is the trained one where half of the memory holds it") {
  const MemoryPlan plan = test::require_ok(plan_memory(wish()));
  CHECK(plan.n_ctx == 4096);
  CHECK(plan.n_blocks == 128);
}

TEST_CASE("a trained context that does not fit becomes what fits") {
  MemoryWish w = wish();
  w.n_ctx_train = 1 << 20;
  const MemoryPlan plan = test::require_ok(plan_memory(w));
  CHECK(plan.n_blocks == 500);  // half of the 1000 MiB beside the weights
  CHECK(plan.n_ctx == 500 * 32);
}

TEST_CASE("a stated context may use all of the memory, a stated budget bounds it") {
  MemoryWish w = wish();
  w.n_ctx = 900 * 32;
  CHECK(test::require_ok(plan_memory(w)).n_blocks == 900);
  w.kv_budget = 899 * kMiB;
  const Result<MemoryPlan> refused = plan_memory(w);
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code == ErrorCode::out_of_memory);
  CHECK(refused.error().message ==
        "a context of 28800 tokens needs 900.0 MiB for its KV cache, 899.0 MiB are available for "
        "it");
}

TEST_CASE("several sequences share the budget's blocks; one alone always fits") {
  MemoryWish w = wish();
  w.max_seqs = 8;
  w.n_ctx = 200 * 32;
  CHECK(test::require_ok(plan_memory(w)).n_blocks == 1000);
  w.max_seqs = 2;
  CHECK(test::require_ok(plan_memory(w)).n_blocks == 400);
}

TEST_CASE("a context that is no multiple of the block takes the whole block") {
  MemoryWish w = wish();
  w.n_ctx = 33;
  const MemoryPlan plan = test::require_ok(plan_memory(w));
  CHECK(plan.n_ctx == 33);
  CHECK(plan.n_blocks == 2);
}

TEST_CASE("what can't be had is refused with the numbers") {
  MemoryWish heavy = wish();
  heavy.weight_bytes = 2000 * kMiB;
  const Result<MemoryPlan> weights = plan_memory(heavy);
  REQUIRE_FALSE(weights.ok());
  CHECK(weights.error().message ==
        "the weights need 2000.0 MiB of memory, 1100.0 MiB are available");

  MemoryWish greedy = wish();
  greedy.kv_budget = 1001 * kMiB;
  const Result<MemoryPlan> budget = plan_memory(greedy);
  REQUIRE_FALSE(budget.ok());
  CHECK(budget.error().code == ErrorCode::out_of_memory);

  MemoryWish tiny = wish();
  tiny.kv_budget = 1;
  CHECK_FALSE(plan_memory(tiny).ok());
}

TEST_CASE("weights that may stay in the file leave half of the memory to the KV cache") {
  MemoryWish w = wish();
  w.weights_may_stay = true;
  CHECK_FALSE(test::require_ok(plan_memory(w)).weights_stay);
  w.weight_bytes = 2000 * kMiB;
  w.n_ctx_train = 1 << 20;
  const MemoryPlan plan = test::require_ok(plan_memory(w));
  CHECK(plan.weights_stay);
  CHECK(plan.n_blocks == 275);  // half of 550 MiB
  w.kv_budget = 551 * kMiB;
  CHECK_FALSE(plan_memory(w).ok());
}

TEST_CASE("layers with a window have pages for the window, and the budget goes further") {
  MemoryWish w = wish();
  w.block_bytes = kMiB / 4;
  w.page_bytes = kMiB * 3 / 4;  // three of four layers
  w.window = 512;
  w.step_tokens = 512;
  const MemoryPlan plan = test::require_ok(plan_memory(w));
  CHECK(plan.n_ctx == 4096);
  CHECK(plan.n_blocks == 128);
  CHECK(plan.n_pages == 35 + 2 * 18);  // a window, a chunk and their edges; two windows to spare
  // 500 MiB: 35 pages take 26.25 MiB, blocks the rest.
  w.n_ctx_train = 1 << 20;
  const MemoryPlan longest = test::require_ok(plan_memory(w));
  CHECK(longest.n_ctx == (500 * 4 - 35 * 3) * 32);
  CHECK(longest.n_pages == 35);
  w.n_ctx = 900 * 32;
  w.kv_budget = 252 * kMiB;  // 225 and 26.25
  CHECK(test::require_ok(plan_memory(w)).n_blocks == 900);
  w.kv_budget = 251 * kMiB;
  const Result<MemoryPlan> refused = plan_memory(w);
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().message.find("needs 251.2 MiB") != std::string::npos);
  // Several share; a context that the window covers has a page for each block.
  w.kv_budget = 0;
  w.n_ctx = 96;
  w.max_seqs = 4;
  const MemoryPlan small = test::require_ok(plan_memory(w));
  CHECK(small.n_blocks == 12);
  CHECK(small.n_pages == 12);
  w.block_bytes = 0;  // all layers
  w.n_ctx = 0;
  w.max_seqs = 2;
  const MemoryPlan all = test::require_ok(plan_memory(w));
  CHECK(all.n_ctx == 1 << 20);
  CHECK(all.n_blocks == 2 << 15);
  CHECK(all.n_pages == 2 * (35 + 36));
}

TEST_CASE("numbers at their limits don't overflow") {
  MemoryWish w = wish();
  w.n_ctx = std::numeric_limits<int>::max();
  w.block_bytes = std::numeric_limits<uint64_t>::max() / 2;
  CHECK_FALSE(plan_memory(w).ok());
  w.block_bytes = 1;
  w.block_size = 1;
  w.max_seqs = 4096;
  w.memory_bytes = std::numeric_limits<uint64_t>::max();
  const MemoryPlan plan = test::require_ok(plan_memory(w));
  CHECK(plan.n_blocks == std::numeric_limits<int>::max());
  w.n_ctx = 0;
  w.n_ctx_train = -5;
  CHECK(test::require_ok(plan_memory(w)).n_ctx == 1);
}

}  // namespace
}  // namespace lm
