// engine/kv/prefix_index.h — what blocks hold, as a tree of token runs: a block's entry is a run of
// at most a block of tokens behind its parent's. Whole blocks are found by the hash of the chain of
// tokens up to them, and their tokens are compared; what begins like a block is found among its
// siblings. An entry's parent is always there: whoever holds a block holds those before it.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "engine/core/hash.h"
#include "engine/core/token.h"

namespace lm {

using BlockId = int32_t;

// The first n_tokens of what `block` holds.
struct PrefixMatch {
  BlockId block = -1;
  int n_tokens = 0;
};

class PrefixIndex {
 public:
  static constexpr BlockId kRoot = -1;  // the parent of what begins a sequence

  PrefixIndex(int n_blocks, int block_size);

  bool holds(BlockId block) const { return length_[size_t(block)] > 0; }
  int n_tokens(BlockId block) const { return length_[size_t(block)]; }
  // Of the chain of whole blocks that ends with this one.
  Hash128 key(BlockId block) const;
  BlockId parent(BlockId block) const { return parent_[size_t(block)]; }
  int index(BlockId block) const { return depth_[size_t(block)]; }  // blocks before it
  std::span<const TokenId> tokens(BlockId block) const;
  static Hash128 chain_key(Hash128 parent, std::span<const TokenId> tokens);

  // The whole block that holds exactly `wanted` behind `parent`; -1: there is none.
  BlockId find(BlockId parent, std::span<const TokenId> wanted) const;
  // The block behind `parent` that shares most tokens with the beginning of `wanted`; of many
  // blocks only the latest are looked at.
  PrefixMatch find_beginning(BlockId parent, std::span<const TokenId> wanted) const;

  // `block` holds the tokens `held` (1 to block_size) behind the whole block `parent`. It may hold
  // fewer of them already. No other whole block holds the same.
  void insert(BlockId block, BlockId parent, std::span<const TokenId> held);
  void erase(BlockId block);  // has no children

  // Whoever wants to hear of blocks that become whole asks now and then which did since the last
  // time; some of them may be gone again.
  void record_whole() { new_whole_.reserve(length_.size() + 1); }
  void take_whole(std::vector<BlockId>& into);

 private:
  BlockId& bucket_of(const Hash128& key) { return buckets_[key.low % buckets_.size()]; }
  void remove_whole(BlockId block);
  size_t children_of(BlockId parent) const;  // index into first_child_
  void unlink(BlockId block);

  int block_size_;
  std::vector<int32_t> length_;       // [n_blocks]  tokens known; 0: not an entry
  std::vector<TokenId> tokens_;       // [n_blocks, block_size]
  std::vector<Hash128> keys_;         // [n_blocks]  of whole blocks
  std::vector<BlockId> parent_;       // [n_blocks]
  std::vector<int32_t> depth_;        // [n_blocks]
  std::vector<BlockId> first_child_;  // [n_blocks + 1]  the last one: of the root; -1: none
  std::vector<BlockId> next_, prev_;  // [n_blocks]  siblings, latest first; -1: none
  // The whole blocks by key: a list for each bucket. Nothing is allocated after the constructor.
  std::vector<BlockId> buckets_;      // [n_blocks or more]  -1: empty
  std::vector<BlockId> bucket_next_;  // [n_blocks]
  std::vector<BlockId> new_whole_;    // as many as there is room for
};

}  // namespace lm
