// engine/kv/block_pool.h — who holds which KV block. Integers only: no tensors, no device.
// A block is free, or held by as many tables as it has references.
#pragma once
#include <cstdint>
#include <vector>

#include "engine/core/result.h"

namespace lm {

using BlockId = int32_t;

class BlockPool {
 public:
  BlockPool(int n_blocks, int block_size);

  int n_blocks() const { return int(refs_.size()); }
  int block_size() const { return block_size_; }  // tokens
  int free_blocks() const { return int(free_.size()); }

  BlockId take();            // a block with one reference; -1 when none is free
  void share(BlockId id);    // one more reference
  void release(BlockId id);  // one less; at 0 the block is free
  int references(BlockId id) const;

 private:
  int block_size_;
  std::vector<int> refs_;
  std::vector<BlockId> free_;  // the last one is taken next
};

// One sequence's view of the cache: token i lives in blocks()[i / block_size].
// Returns its blocks to the pool when destroyed.
class BlockTable {
 public:
  explicit BlockTable(BlockPool& pool) : pool_(&pool) {}
  ~BlockTable() { clear(); }
  BlockTable(BlockTable&& other) noexcept;
  BlockTable& operator=(BlockTable&& other) noexcept;
  BlockTable(const BlockTable&) = delete;
  BlockTable& operator=(const BlockTable&) = delete;

  const std::vector<BlockId>& blocks() const { return blocks_; }
  int capacity() const { return int(blocks_.size()) * pool_->block_size(); }  // tokens
  // How many more blocks must be taken to hold n_tokens.
  int missing_blocks(int n_tokens) const;
  bool grow(int n_tokens);  // makes room for n_tokens; false (and unchanged) when the pool is short
  void truncate(int n_tokens);  // gives back what tokens >= n_tokens used
  void clear() { truncate(0); }
  int32_t slot(int position) const;  // block * block_size + offset

 private:
  int blocks_for(int n_tokens) const;

  BlockPool* pool_;
  std::vector<BlockId> blocks_;
};

}  // namespace lm
