// engine/text/merge_table.h — the merges of a BPE vocabulary by the ids of their two halves.
// Source: Sennrich et al. 2016, "Neural Machine Translation of Rare Words with Subword Units".
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "engine/core/result.h"
#include "engine/core/token.h"
#include "engine/text/flat_index.h"
#include "engine/text/merge_queue.h"
#include "engine/text/vocab_table.h"

namespace lm {

class MergeTable {
 public:
  // Each merge is "left right"; its position is its rank. Both halves and what they make together
  // must be tokens (as in Hugging Face's tokenizers): a merge that leads nowhere would give
  // silently wrong ids. Of equal merges the first counts.
  static Result<MergeTable> build(const VocabTable& table, const std::vector<std::string>& merges);

  Merge find(TokenId left, TokenId right) const;
  bool empty() const { return rules_.empty(); }

 private:
  struct Rule {
    TokenId left, right, result;
  };

  explicit MergeTable(size_t count) : index_(count) { rules_.reserve(count); }

  std::vector<Rule> rules_;  // by rank
  FlatIndex index_;          // (left, right) to rank
};

}  // namespace lm
