#include "engine/text/merge_table.h"

#include <string_view>

#include "engine/core/text.h"

namespace lm {
namespace {

constexpr size_t kMaxMerges = 1 << 26;

// splitmix64's finalizer: every bit of the pair reaches every bit of the hash.
uint64_t hash_pair(TokenId left, TokenId right) {
  uint64_t x = uint64_t(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
  x = (x ^ x >> 27) * 0x94D049BB133111EBu;
  return x ^ x >> 31;
}

}  // namespace

Result<MergeTable> MergeTable::build(const VocabTable& table,
                                     const std::vector<std::string>& merges) {
  if (merges.size() > kMaxMerges) {
    return Error{ErrorCode::bad_file, concat("the vocabulary has ", merges.size(),
                                             " merges; at most ", kMaxMerges, " are possible")};
  }
  MergeTable result(merges.size());
  std::string joined;
  for (size_t i = 0; i < merges.size(); ++i) {
    const std::string_view merge = merges[i];
    const size_t space = merge.find(' ', 1);
    if (space == std::string_view::npos) {
      return Error{ErrorCode::bad_file, concat("merge ", i, " is \"", printable(merge),
                                               "\"; two tokens with a space between are expected")};
    }
    joined.assign(merge.substr(0, space)).append(merge.substr(space + 1));
    const Rule rule = {table.find(merge.substr(0, space)), table.find(merge.substr(space + 1)),
                       table.find(joined)};
    if (rule.left < 0 || rule.right < 0 || rule.result < 0) {
      return Error{ErrorCode::bad_file,
                   concat("merge ", i, " is \"", printable(merge),
                          "\", but not all of its tokens are in the vocabulary")};
    }
    result.rules_.push_back(rule);
    const auto plain = [&](TokenId id) { return VocabTable::is_plain(table.type(id)); };
    if (!plain(rule.left) || !plain(rule.right) || !plain(rule.result)) continue;
    const auto same = [&](uint32_t other) {
      return result.rules_[other].left == rule.left && result.rules_[other].right == rule.right;
    };
    result.index_.insert(hash_pair(rule.left, rule.right), static_cast<uint32_t>(i), same);
  }
  return result;
}

Merge MergeTable::find(TokenId left, TokenId right) const {
  const uint32_t rank = index_.find(hash_pair(left, right), [&](uint32_t other) {
    return rules_[other].left == left && rules_[other].right == right;
  });
  if (rank == FlatIndex::kNone) return {};
  return {rank, rules_[rank].result};
}

}  // namespace lm
