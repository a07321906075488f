// engine/grammar/vocabulary.h — what a grammar must know of a model's tokens: their bytes, and
// which of them end a text. One for each model; every grammar shares it.
#pragma once
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/token.h"
#include "engine/grammar/token_trie.h"

namespace lm::grammar {

class Vocabulary {
 public:
  // pieces[id]: the bytes that token `id` adds to a text; empty when it may not be part of one.
  // drops_first_space: the token that begins a text loses a leading space.
  Vocabulary(std::vector<std::string> pieces, std::vector<TokenId> end_tokens,
             bool drops_first_space);

  size_t size() const { return pieces_.size(); }
  // "" outside the vocabulary.
  std::string_view piece(TokenId id) const {
    return id >= 0 && size_t(id) < pieces_.size() ? std::string_view(pieces_[size_t(id)]) : "";
  }
  std::string_view first_piece(TokenId id) const;
  bool is_end(TokenId id) const;
  std::span<const TokenId> end_tokens() const { return end_tokens_; }
  bool drops_first_space() const { return first_trie_.has_value(); }

  const TokenTrie& trie() const { return *trie_; }
  // Of first_piece(): only where drops_first_space().
  const TokenTrie& first_trie() const { return *first_trie_; }

 private:
  std::vector<std::string> pieces_;
  std::vector<TokenId> end_tokens_;
  std::optional<TokenTrie> trie_, first_trie_;
};

}  // namespace lm::grammar
