#include "engine/kv/prefix_index.h"

#include <algorithm>
#include <utility>

#include "engine/core/check.h"

namespace lm {
namespace {

constexpr int kMostSiblings = 64;  // looked at for a common beginning

int common_beginning(std::span<const TokenId> a, std::span<const TokenId> b) {
  const auto end = std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first;
  return int(end - a.begin());
}

}  // namespace

PrefixIndex::PrefixIndex(int n_blocks, int block_size)
    : block_size_(block_size),
      length_(size_t(n_blocks), 0),
      tokens_(size_t(n_blocks) * size_t(block_size), 0),
      keys_(size_t(n_blocks)),
      parent_(size_t(n_blocks), -1),
      depth_(size_t(n_blocks), 0),
      first_child_(size_t(n_blocks) + 1, -1),
      next_(size_t(n_blocks), -1),
      prev_(size_t(n_blocks), -1),
      buckets_(size_t(n_blocks) + 1, -1),
      bucket_next_(size_t(n_blocks), -1) {}

Hash128 PrefixIndex::key(BlockId block) const {
  return block == kRoot ? Hash128() : keys_[size_t(block)];
}

Hash128 PrefixIndex::chain_key(Hash128 parent, std::span<const TokenId> tokens) {
  return hash128(parent, std::as_bytes(tokens));
}

size_t PrefixIndex::children_of(BlockId parent) const {
  return parent == kRoot ? first_child_.size() - 1 : size_t(parent);
}

std::span<const TokenId> PrefixIndex::tokens(BlockId block) const {
  return std::span(tokens_).subspan(size_t(block) * size_t(block_size_),
                                    size_t(length_[size_t(block)]));
}

BlockId PrefixIndex::find(BlockId parent, std::span<const TokenId> wanted) const {
  const Hash128 wanted_key = chain_key(key(parent), wanted);
  BlockId block = buckets_[wanted_key.low % buckets_.size()];
  for (; block >= 0; block = bucket_next_[size_t(block)]) {
    if (keys_[size_t(block)] != wanted_key || parent_[size_t(block)] != parent) continue;
    const std::span<const TokenId> held = tokens(block);
    if (std::equal(held.begin(), held.end(), wanted.begin(), wanted.end())) return block;
  }
  return -1;
}

PrefixMatch PrefixIndex::find_beginning(BlockId parent, std::span<const TokenId> wanted) const {
  PrefixMatch best;
  BlockId child = first_child_[children_of(parent)];
  for (int i = 0; i < kMostSiblings && child >= 0; ++i, child = next_[size_t(child)]) {
    const int n = common_beginning(tokens(child), wanted);
    if (n > best.n_tokens) best = {child, n};
  }
  return best;
}

void PrefixIndex::insert(BlockId block, BlockId parent, std::span<const TokenId> held) {
  const size_t b = size_t(block);
  LM_CHECK(!held.empty() && int(held.size()) <= block_size_);
  LM_CHECK(parent == kRoot || length_[size_t(parent)] == block_size_);
  const bool known = holds(block);
  LM_CHECK(!known || (parent_[b] == parent && length_[b] <= int(held.size())));
  if (int(held.size()) == block_size_ && !(known && length_[b] == block_size_)) {
    keys_[b] = chain_key(key(parent), held);
    BlockId& bucket = bucket_of(keys_[b]);
    bucket_next_[b] = std::exchange(bucket, block);
    if (new_whole_.size() < new_whole_.capacity()) new_whole_.push_back(block);
  }
  std::copy(held.begin(), held.end(), tokens_.begin() + std::ptrdiff_t(b) * block_size_);
  length_[b] = int32_t(held.size());
  if (known) return;
  BlockId& first = first_child_[children_of(parent)];
  parent_[b] = parent;
  depth_[b] = parent == kRoot ? 0 : depth_[size_t(parent)] + 1;
  next_[b] = first;
  prev_[b] = -1;
  if (first >= 0) prev_[size_t(first)] = block;
  first = block;
}

void PrefixIndex::take_whole(std::vector<BlockId>& into) {
  into.assign(new_whole_.begin(), new_whole_.end());
  new_whole_.clear();
}

void PrefixIndex::remove_whole(BlockId block) {
  BlockId* link = &bucket_of(keys_[size_t(block)]);
  while (*link != block) link = &bucket_next_[size_t(*link)];
  *link = bucket_next_[size_t(block)];
}

void PrefixIndex::unlink(BlockId block) {
  const size_t b = size_t(block);
  if (prev_[b] >= 0) {
    next_[size_t(prev_[b])] = next_[b];
  } else {
    first_child_[children_of(parent_[b])] = next_[b];
  }
  if (next_[b] >= 0) prev_[size_t(next_[b])] = prev_[b];
}

void PrefixIndex::erase(BlockId block) {
  LM_CHECK(holds(block) && first_child_[size_t(block)] < 0);
  if (length_[size_t(block)] == block_size_) remove_whole(block);
  unlink(block);
  length_[size_t(block)] = 0;
}

}  // namespace lm
