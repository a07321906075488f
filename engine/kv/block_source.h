// engine/kv/block_source.h — somewhere outside of the pool that blocks may come from.
#pragma once
#include <span>

#include "engine/core/hash.h"
#include "engine/core/token.h"
#include "engine/kv/prefix_index.h"

namespace lm {

class BlockSource {
 public:
  virtual ~BlockSource() = default;

  enum class Answer {
    loaded,
    missing,  // nothing is known of these tokens
    later,    // enough for this step: ask in the next one
  };
  // Fills `block`, whose content means nothing yet, with K and V of `tokens`: a whole block, behind
  // `index` others whose chain has this key.
  virtual Answer load(Hash128 parent, int index, std::span<const TokenId> tokens,
                      BlockId block) = 0;
  // The same for an unfinished block. Returns how many of the first `tokens` it holds now: 0 when
  // nothing is known that begins so.
  virtual int load_tail(Hash128 parent, int index, std::span<const TokenId> tokens,
                        BlockId block) = 0;
};

}  // namespace lm
