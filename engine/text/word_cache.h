// engine/text/word_cache.h — text repeats its words: within one call, a word that was encoded
// before is copied from where its ids already stand in the output.
#pragma once
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/core/token.h"

namespace lm {

class WordCache {
 public:
  // The words must outlive this, and `out` must only grow while this is used.
  explicit WordCache(std::vector<TokenId>& out) : out_(out) {}

  // Appends the ids of `word`: from before, or by calling encode(word), which appends them and says
  // whether they depend on the word alone.
  template <class Encode>
  void append(std::string_view word, const Encode& encode) {
    const bool short_enough = word.size() <= kMaxBytes;
    if (short_enough) {
      if (const auto seen = ids_.find(word); seen != ids_.end()) {
        const auto [begin, count] = seen->second;
        for (size_t i = 0; i < count; ++i) out_.push_back(TokenId{out_[begin + i]});
        return;
      }
    }
    const size_t begin = out_.size();
    if (encode(word) && short_enough) ids_.emplace(word, Ids{begin, out_.size() - begin});
  }

 private:
  static constexpr size_t kMaxBytes = 64;  // longer words seldom come again
  struct Ids {
    size_t begin, count;  // positions in out_
  };

  std::vector<TokenId>& out_;
  std::unordered_map<std::string_view, Ids> ids_;
};

}  // namespace lm
