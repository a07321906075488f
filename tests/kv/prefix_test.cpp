// What the pool remembers: chains of whole blocks, unfinished ones, and what is forgotten first.
#include <vector>

#include "engine/kv/block_pool.h"
#include "tests/support/support.h"

namespace lm {
namespace {

std::vector<TokenId> counting(TokenId first, size_t n) {
  std::vector<TokenId> tokens(n);
  for (size_t i = 0; i < n; ++i) tokens[i] = first + TokenId(i);
  return tokens;
}

// A sequence that was computed and has gone.
void compute(BlockPool& pool, const std::vector<TokenId>& tokens) {
  BlockTable table(pool);
  table.adopt(tokens);
  REQUIRE(table.grow(int(tokens.size())));
  table.publish_tail(tokens);
}

// Looks without using anything.
int known_tokens(const BlockPool& pool, const std::vector<TokenId>& tokens) {
  const size_t size = size_t(pool.block_size());
  const std::span<const TokenId> all(tokens);
  BlockId last = PrefixIndex::kRoot;
  size_t known = 0;
  for (; known + size <= tokens.size(); known += size) {
    const BlockId next = pool.index().find(last, all.subspan(known, size));
    if (next < 0) break;
    last = next;
  }
  return int(known) + pool.index().find_beginning(last, all.subspan(known)).n_tokens;
}

TEST_CASE("whole blocks are found again, behind the same tokens only") {
  BlockPool pool(8, 4);
  const std::vector<TokenId> tokens = counting(1, 12);
  compute(pool, tokens);
  CHECK(pool.free_blocks() == 8);
  CHECK(pool.cached_blocks() == 3);
  BlockTable table(pool);
  CHECK(table.adopt(tokens));
  CHECK(table.n_shared() == 12);
  CHECK(pool.cached_blocks() == 0);
  CHECK(pool.free_blocks() == 5);
  CHECK_FALSE(table.adopt(tokens));

  CHECK(known_tokens(pool, counting(1, 7)) == 7);  // a block and the beginning of the next
  CHECK(known_tokens(pool, counting(5, 8)) == 0);  // the second block's tokens, but first
  CHECK(known_tokens(pool, counting(100, 8)) == 0);
}

TEST_CASE("two tables hold one block; the first to go leaves it to the other") {
  BlockPool pool(4, 4);
  const std::vector<TokenId> tokens = counting(1, 8);
  BlockTable a(pool), b(pool);
  REQUIRE(a.grow(8));
  a.publish(tokens);
  REQUIRE(b.adopt(tokens));
  CHECK(a.blocks() == b.blocks());
  CHECK(pool.references(a.blocks()[1]) == 2);
  a.clear();
  CHECK(pool.free_blocks() == 2);
  b.clear();
  CHECK(pool.free_blocks() == 4);
}

TEST_CASE("what two have computed at the same time is kept once") {
  BlockPool pool(4, 4);
  const std::vector<TokenId> tokens = counting(1, 8);
  BlockTable a(pool), b(pool);
  REQUIRE(a.grow(8));
  REQUIRE(b.grow(8));
  a.publish(tokens);
  CHECK(pool.free_blocks() == 0);
  b.publish(tokens);
  CHECK(a.blocks() == b.blocks());
  CHECK(pool.free_blocks() == 2);
}

TEST_CASE("an unfinished block nobody holds is continued; a held one is copied") {
  BlockPool pool(4, 4);
  compute(pool, counting(1, 6));
  BlockTable a(pool), b(pool);
  a.adopt(counting(1, 7));
  const BlockTable::Tail mine = a.adopt_tail(counting(1, 7));
  CHECK(mine.n_tokens == 2);
  CHECK_FALSE(mine.copy);
  CHECK(a.blocks().size() == 2);

  b.adopt(counting(1, 7));
  REQUIRE(b.grow(7));
  const BlockTable::Tail copied = b.adopt_tail(counting(1, 7));
  CHECK(copied.n_tokens == 2);
  REQUIRE(copied.copy);
  CHECK(copied.copy->from == a.blocks()[1]);
  CHECK(copied.copy->to == b.blocks()[1]);
  CHECK(pool.references(a.blocks()[1]) == 1);
  CHECK(pool.references(a.blocks()[0]) == 2);
}

TEST_CASE("an unfinished block becomes a whole one") {
  BlockPool pool(4, 4);
  compute(pool, counting(1, 6));
  compute(pool, counting(1, 8));
  BlockTable table(pool);
  table.adopt(counting(1, 8));
  CHECK(table.n_shared() == 8);
}

TEST_CASE("the least recently used goes first, and never before what stands behind it") {
  BlockPool pool(6, 4);
  compute(pool, counting(1, 12));
  compute(pool, counting(100, 12));
  CHECK(pool.cached_blocks() == 6);
  compute(pool, counting(1, 12));  // used again: the other is older now
  BlockTable table(pool);
  REQUIRE(table.grow(4));
  CHECK(known_tokens(pool, counting(100, 12)) == 8);
  REQUIRE(table.grow(12));
  CHECK(known_tokens(pool, counting(100, 12)) == 0);
  CHECK(known_tokens(pool, counting(1, 12)) == 12);
  REQUIRE(table.grow(20));
  CHECK(known_tokens(pool, counting(1, 12)) == 4);
  CHECK_FALSE(table.grow(28));
}

TEST_CASE("forgetting leaves what is held") {
  BlockPool pool(6, 4);
  compute(pool, counting(1, 12));
  BlockTable table(pool);
  REQUIRE(table.adopt(counting(1, 8)));
  pool.forget_cached();
  CHECK(pool.cached_blocks() == 0);
  CHECK(pool.free_blocks() == 4);
  table.clear();
  CHECK(known_tokens(pool, counting(1, 12)) == 8);
}

}  // namespace
}  // namespace lm
