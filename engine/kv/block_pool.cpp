#include "engine/kv/block_pool.h"

#include <limits>

#include "engine/core/check.h"

namespace lm {

BlockPool::BlockPool(int n_blocks, int block_size) : block_size_(block_size) {
  // Slots are i32: block * block_size + offset must fit.
  LM_CHECK(n_blocks >= 0 && block_size > 0);
  LM_CHECK(n_blocks <= std::numeric_limits<int32_t>::max() / block_size);
  refs_.assign(size_t(n_blocks), 0);
  free_.reserve(size_t(n_blocks));
  for (BlockId id = n_blocks - 1; id >= 0; --id) free_.push_back(id);
}

BlockId BlockPool::take() {
  if (free_.empty()) return -1;
  const BlockId id = free_.back();
  free_.pop_back();
  refs_[size_t(id)] = 1;
  return id;
}

void BlockPool::share(BlockId id) {
  LM_CHECK(references(id) > 0);
  ++refs_[size_t(id)];
}

void BlockPool::release(BlockId id) {
  LM_CHECK(references(id) > 0);
  if (--refs_[size_t(id)] == 0) free_.push_back(id);
}

int BlockPool::references(BlockId id) const {
  LM_CHECK(id >= 0 && id < n_blocks());
  return refs_[size_t(id)];
}

BlockTable::BlockTable(BlockTable&& other) noexcept
    : pool_(other.pool_), blocks_(std::move(other.blocks_)) {
  other.blocks_.clear();
}

BlockTable& BlockTable::operator=(BlockTable&& other) noexcept {
  if (this != &other) {
    clear();
    pool_ = other.pool_;
    blocks_ = std::move(other.blocks_);
    other.blocks_.clear();
  }
  return *this;
}

int BlockTable::blocks_for(int n_tokens) const {
  LM_CHECK(n_tokens >= 0);
  const int size = pool_->block_size();
  return n_tokens / size + (n_tokens % size != 0 ? 1 : 0);
}

int BlockTable::missing_blocks(int n_tokens) const {
  const int more = blocks_for(n_tokens) - int(blocks_.size());
  return more > 0 ? more : 0;
}

bool BlockTable::grow(int n_tokens) {
  const int more = missing_blocks(n_tokens);
  if (more > pool_->free_blocks()) return false;
  for (int i = 0; i < more; ++i) blocks_.push_back(pool_->take());
  return true;
}

void BlockTable::truncate(int n_tokens) {
  const size_t keep = size_t(blocks_for(n_tokens));
  while (blocks_.size() > keep) {
    pool_->release(blocks_.back());
    blocks_.pop_back();
  }
}

int32_t BlockTable::slot(int position) const {
  LM_CHECK(position >= 0 && position < capacity());
  const int size = pool_->block_size();
  return blocks_[size_t(position / size)] * size + position % size;
}

}  // namespace lm
