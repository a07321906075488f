// engine/text/special_matcher.h — finds special tokens in text: the leftmost, of those the longest.
// A trie of their spellings in one array; children are a linked list of siblings, because nearly
// every node has one child.
#pragma once
#include <array>
#include <optional>
#include <string_view>
#include <vector>

#include "engine/core/token.h"

namespace lm {

class SpecialMatcher {
 public:
  struct Match {
    size_t begin, length;  // bytes of the text
    TokenId id;
  };

  SpecialMatcher();
  void add(std::string_view text,
           TokenId id);  // empty texts are ignored; the first of equals stays

  // The first special token at or after `from`.
  std::optional<Match> find(std::string_view text, size_t from) const;

 private:
  struct Node {
    int32_t child, sibling;  // -1: none
    TokenId id;              // -1: no token ends here
    char byte;
  };

  int32_t child(int32_t node, char byte) const;

  std::vector<Node> nodes_;
  std::array<int32_t, 256> roots_;  // by first byte; -1: no token starts so
};

}  // namespace lm
