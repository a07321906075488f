// The scheduling policy in a world of random arrivals, lengths, common beginnings and cancels, with
// a memory that knows what each slot should hold: nothing leaks, nobody starves, nobody reads what
// is not theirs.
#include <algorithm>
#include <memory>
#include <set>
#include <vector>

#include "engine/runtime/scheduler.h"
#include "tests/support/support.h"

namespace lm {
namespace {

// What K and V at the end of `history` would be: a function of all of it.
uint64_t state_of(std::span<const TokenId> history, uint64_t before) {
  test::Random mix(before * 31 + uint64_t(history.back()));
  return mix.next();
}

struct World {
  BlockPool pool;
  int max_step_tokens, max_seqs;
  Scheduler scheduler;
  test::Random random;
  std::vector<uint64_t> memory, page_memory;  // [n_blocks * block_size], [n_pages * block_size]
  struct User {
    std::unique_ptr<Sequence> sequence;
    size_t final_length;
  };
  std::vector<User> users;  // unfinished, in order of arrival
  uint64_t arrivals = 0;
  int64_t computed = 0, reused = 0;

  World(uint64_t seed, int n_blocks, int block_size, int step_tokens, int seqs,
        WindowLayout window = {})
      : pool(n_blocks, block_size, window),
        max_step_tokens(step_tokens),
        max_seqs(seqs),
        scheduler(pool, step_tokens, seqs),
        random(seed),
        memory(size_t(n_blocks * block_size), 0),
        page_memory(size_t(window.n_pages * block_size), 0) {}

  // A few tokens only, so that many begin alike; the rest as chance wants it.
  void arrive() {
    auto s = std::make_unique<Sequence>(pool);
    const size_t capacity = size_t(pool.n_blocks() * pool.block_size());
    const size_t final_length = 2 + random.below(capacity - 1);
    const size_t n_prompt = 1 + random.below(final_length - 1), alike = random.below(n_prompt + 1);
    s->id = ++arrivals;
    for (size_t i = 0; i < n_prompt; ++i) {
      s->tokens.push_back(i < alike ? TokenId(1) : TokenId(1 + random.below(3)));
    }
    scheduler.add(s.get());
    users.push_back({std::move(s), final_length});
  }

  void leave(size_t i) {
    reused += users[i].sequence->n_reused;
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
      REQUIRE(s.n_computed >= s.table.n_shared());  // what others may hold is not written
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
    std::vector<int> holders(size_t(pool.n_blocks()), 0);
    for (const User& user : users) {
      const Sequence& s = *user.sequence;
      for (const BlockId id : s.table.blocks()) ++holders[size_t(id)];
      const bool decodes = !s.table.blocks().empty() && int(s.tokens.size()) - s.n_computed == 1;
      if (decodes) REQUIRE(planned.contains(&s));  // nobody's stream stalls
    }
    for (const BlockCopy& copy : scheduler.copies()) ++holders[size_t(copy.from)];
    int held = 0;
    for (BlockId id = 0; id < pool.n_blocks(); ++id) {
      REQUIRE(pool.references(id) == holders[size_t(id)]);
      held += holders[size_t(id)] > 0;
    }
    REQUIRE(held + pool.free_blocks() == pool.n_blocks());
    check_pages();
  }

  void check_pages() {
    if (pool.window() == 0) return;
    std::set<PageId> pages;
    for (const User& user : users) {
      const BlockTable& table = user.sequence->table;
      int n_held = 0;
      for (int i = 0; i < int(table.blocks().size()); ++i) {
        if (table.page(i) < 0) continue;
        pages.insert(table.page(i));
        ++n_held;
      }
      REQUIRE(n_held <= most_window_pages(pool.window(), max_step_tokens, pool.block_size()));
    }
    for (const BlockCopy& copy : scheduler.copies()) pages.insert(pool.pages().of(copy.from));
    REQUIRE(int(pages.size()) + pool.pages().free_pages() == pool.pages().n_pages());
  }

  // What the device would do.
  void compute(const std::vector<PlannedRow>& plan) {
    const auto size = std::ptrdiff_t(pool.block_size());
    for (const BlockCopy& copy : scheduler.copies()) {
      std::copy_n(memory.begin() + copy.from * size, size, memory.begin() + copy.to * size);
      if (pool.window() == 0) continue;
      const PageId from = pool.pages().of(copy.from), to = pool.pages().of(copy.to);
      REQUIRE(std::min(from, to) >= 0);
      std::copy_n(page_memory.begin() + from * size, size, page_memory.begin() + to * size);
    }
    for (const PlannedRow& row : plan) {
      const Sequence& s = *row.sequence;
      const std::span<const TokenId> tokens(s.tokens);
      uint64_t state = 0;
      for (int p = 0; p < s.n_computed + row.n_tokens; ++p) {
        state = state_of(tokens.first(size_t(p) + 1), state);
        uint64_t& slot = memory[size_t(s.table.slot(p))];
        if (p >= s.n_computed) slot = state;
        REQUIRE(slot == state);
        if (p <= s.n_computed - pool.window()) continue;  // the first row sees what comes after
        if (pool.window() == 0) continue;
        uint64_t& page_slot = page_memory[size_t(s.table.window_slot(p))];
        if (p >= s.n_computed) page_slot = state;
        REQUIRE(page_slot == state);
      }
      computed += row.n_tokens;
    }
  }

  void step() {
    const std::vector<PlannedRow> plan = scheduler.next();
    check(plan);
    compute(plan);
    scheduler.completed(plan);
    for (const PlannedRow& row : plan) {
      if (row.wants_logits) row.sequence->tokens.push_back(TokenId(1 + random.below(2)));
    }
    for (size_t i = users.size(); i-- > 0;) {
      if (users[i].sequence->tokens.size() >= users[i].final_length) leave(i);
    }
  }
};

struct Totals {
  int64_t computed = 0, reused = 0;
};

// Runs a world until everybody has left.
void live(World& world, Totals& totals) {
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
  CHECK(world.pool.pages().free_pages() == world.pool.pages().n_pages());
  totals.computed += world.computed;
  totals.reused += world.reused;
}

TEST_CASE("random arrivals, lengths and cancels: nothing leaks, nobody starves") {
  Totals totals;
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    CAPTURE(seed);
    test::Random sizes(seed);
    const int seqs = int(1 + sizes.below(6));
    World world(seed, int(1 + sizes.below(12)), int(2 + sizes.below(8)),
                seqs + int(sizes.below(20)), seqs);
    live(world, totals);
  }
  CHECK(totals.reused > totals.computed / 20);  // the worlds are such that reuse happens
}

TEST_CASE("the same with windows and few pages: everybody finds what they see, and nothing leaks") {
  Totals totals;
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    CAPTURE(seed);
    test::Random sizes(seed);
    const int seqs = int(1 + sizes.below(6)), step_tokens = seqs + int(sizes.below(20));
    const int block_size = int(2 + sizes.below(8)), window = int(1 + sizes.below(12));
    const int least = most_window_pages(window, step_tokens, block_size);
    const int n_blocks = int(1 + sizes.below(uint64_t(3 * least)));
    const int n_pages = std::min(least + int(sizes.below(uint64_t(least))), n_blocks);
    World world(seed, n_blocks, block_size, step_tokens, seqs, {window, n_pages});
    live(world, totals);
  }
  CHECK(totals.reused > totals.computed / 40);
}

}  // namespace
}  // namespace lm
