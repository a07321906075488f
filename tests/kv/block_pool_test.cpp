// Blocks are handed out once, shared by count, and always come back.
#include "engine/kv/block_pool.h"

#include <algorithm>
#include <vector>

#include "tests/support/support.h"

namespace lm {
namespace {

TEST_CASE("a pool hands out each block once, and -1 when it is empty") {
  BlockPool pool(3, 16);
  std::vector<BlockId> taken = {pool.take(), pool.take(), pool.take()};
  std::sort(taken.begin(), taken.end());
  CHECK(taken == std::vector<BlockId>{0, 1, 2});
  CHECK(pool.take() == -1);
  pool.release(1);
  CHECK(pool.free_blocks() == 1);
  CHECK(pool.take() == 1);
}

TEST_CASE("a shared block is free only when its last holder lets go") {
  BlockPool pool(1, 16);
  const BlockId id = pool.take();
  pool.share(id);
  CHECK(pool.references(id) == 2);
  pool.release(id);
  CHECK(pool.free_blocks() == 0);
  pool.release(id);
  CHECK(pool.free_blocks() == 1);
  CHECK(pool.references(id) == 0);
}

TEST_CASE("a table grows by whole blocks, all or nothing") {
  BlockPool pool(4, 16);
  BlockTable table(pool);
  CHECK(table.missing_blocks(0) == 0);
  CHECK(table.missing_blocks(1) == 1);
  CHECK(table.missing_blocks(16) == 1);
  CHECK(table.missing_blocks(17) == 2);
  CHECK(table.grow(17));
  CHECK(table.capacity() == 32);
  CHECK(table.missing_blocks(33) == 1);
  CHECK_FALSE(table.grow(65));
  CHECK(table.capacity() == 32);
  CHECK(pool.free_blocks() == 2);
  CHECK(table.grow(64));
  CHECK(pool.free_blocks() == 0);
}

TEST_CASE("slots follow the blocks") {
  BlockPool pool(4, 8);
  const BlockId elsewhere = pool.take();
  BlockTable table(pool);
  REQUIRE(table.grow(20));
  CHECK(table.blocks().size() == 3);
  for (int position = 0; position < 20; ++position) {
    CHECK(table.slot(position) == table.blocks()[size_t(position / 8)] * 8 + position % 8);
  }
  CHECK(std::count(table.blocks().begin(), table.blocks().end(), elsewhere) == 0);
}

TEST_CASE("truncate gives back what later tokens used") {
  BlockPool pool(8, 4);
  BlockTable table(pool);
  REQUIRE(table.grow(30));
  table.truncate(9);
  CHECK(table.blocks().size() == 3);
  table.truncate(20);
  CHECK(table.blocks().size() == 3);
  table.clear();
  CHECK(pool.free_blocks() == 8);
}

TEST_CASE("a table's blocks return when it is destroyed, moved over or moved from") {
  BlockPool pool(8, 4);
  {
    BlockTable a(pool), b(pool);
    REQUIRE(a.grow(8));
    REQUIRE(b.grow(12));
    a = std::move(b);
    CHECK(a.capacity() == 12);
    CHECK(pool.free_blocks() == 5);
    const BlockTable c(std::move(a));
    CHECK(c.capacity() == 12);
    CHECK(pool.free_blocks() == 5);
  }
  CHECK(pool.free_blocks() == 8);
}

TEST_CASE("random growing and shrinking never loses or doubles a block") {
  test::Random random(20240601);
  BlockPool pool(37, 4);
  std::vector<BlockTable> tables;
  for (int i = 0; i < 6; ++i) tables.emplace_back(pool);
  for (int round = 0; round < 5000; ++round) {
    BlockTable& table = tables[random.below(tables.size())];
    const int n_tokens = int(random.below(60));
    if (random.below(2) == 0) {
      table.truncate(n_tokens);
    } else {
      const int before = table.capacity();
      if (table.grow(n_tokens)) {
        CHECK(table.capacity() >= n_tokens);
      } else {
        CHECK(table.capacity() == before);
      }
    }
    std::vector<int> holders(37, 0);
    for (const BlockTable& each : tables) {
      for (const BlockId id : each.blocks()) ++holders[size_t(id)];
    }
    int held = 0;
    for (BlockId id = 0; id < 37; ++id) {
      REQUIRE(holders[size_t(id)] == pool.references(id));
      REQUIRE(holders[size_t(id)] <= 1);
      held += holders[size_t(id)];
    }
    REQUIRE(held + pool.free_blocks() == 37);
  }
}

}  // namespace
}  // namespace lm
