// engine/grammar/token_trie.h — the bytes of every token that may occur in a text, as a tree: what
// tokens have in common is looked at once. The nodes lie in depth-first order, each knowing where
// its subtree ends, so that a walk reads memory forwards.
#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/token.h"
#include "engine/grammar/char_set.h"

namespace lm::grammar {

class TokenTrie {
 public:
  struct Node {
    uint8_t byte;
    uint8_t is_leaf;       // no node below
    uint16_t depth;        // 1: the first byte of a token
    uint32_t end;          // the node after the subtree
    uint32_t first_token;  // of tokens(node); the next node's is where they end
  };

  // pieces[id]: the token's bytes; empty when it may not occur. Left out too are tokens that are
  // not whole characters when not every character that they begin could be finished, and those past
  // kMaxPiece.
  explicit TokenTrie(std::span<const std::string_view> pieces);
  static constexpr size_t kMaxPiece = 60'000;

  size_t n_tokens() const { return n_tokens_; }  // ids are below
  size_t longest() const { return longest_; }    // bytes of a token
  // Nodes 0 .. size() - 1; there is no node for the root.
  size_t size() const { return nodes_.size() - 1; }
  const Node& node(size_t i) const { return nodes_[i]; }
  std::span<const TokenId> tokens(size_t i) const {
    return std::span(tokens_).subspan(nodes_[i].first_token,
                                      nodes_[i + 1].first_token - nodes_[i].first_token);
  }

  // Of the tokens below an inner node, down to the leaves.
  std::span<const TokenId> tokens_below(size_t i) const {
    const uint32_t first = nodes_[i + 1].first_token;
    return std::span(tokens_).subspan(first, nodes_[nodes_[i].end].first_token - first);
  }

  // A larger subtree of ASCII down to kShort at most, so that it can be looked at as a whole.
  struct Plain {
    std::array<uint64_t, 2> bytes{};  // that occur below the node: bit b % 64 of word b / 64
    uint32_t height = 0;              // bytes of its longest path
  };
  // nullptr where the subtree of node i is no such one.
  const Plain* plain(size_t i) const {
    return plain_of_[i] == kNone ? nullptr : &plains_[plain_of_[i]];
  }

  // Inner nodes at depth kShort: few tokens are longer.
  static constexpr size_t kShort = 20;
  struct Deep {
    uint32_t node;
    std::string bytes;  // that lead to it
  };
  const std::vector<Deep>& deep() const { return deep_; }

  // The characters that tokens of their own spell, or tokens for each of their bytes: every text of
  // them can be written, whatever was written before.
  const CharSet& spellable() const { return spellable_; }

 private:
  static constexpr uint32_t kNone = UINT32_MAX;

  void find_plain();
  void find_spellable(std::span<const std::string_view> pieces);

  size_t n_tokens_, longest_ = 0;
  std::vector<Node> nodes_;  // and one more that ends them
  std::vector<TokenId> tokens_;
  std::vector<Deep> deep_;
  std::vector<Plain> plains_;
  std::vector<uint32_t> plain_of_;  // by node
  CharSet spellable_;
};

}  // namespace lm::grammar
