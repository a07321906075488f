#include "engine/grammar/vocabulary.h"

#include <algorithm>
#include <utility>

namespace lm::grammar {

Vocabulary::Vocabulary(std::vector<std::string> pieces, std::vector<TokenId> end_tokens,
                       bool drops_first_space)
    : pieces_(std::move(pieces)), end_tokens_(std::move(end_tokens)) {
  std::vector<std::string_view> views(pieces_.begin(), pieces_.end());
  trie_.emplace(views);
  if (!drops_first_space) return;
  for (std::string_view& view : views) {
    if (view.starts_with(' ')) view.remove_prefix(1);
  }
  first_trie_.emplace(views);
}

std::string_view Vocabulary::first_piece(TokenId id) const {
  std::string_view bytes = piece(id);
  if (drops_first_space() && bytes.starts_with(' ')) bytes.remove_prefix(1);
  return bytes;
}

bool Vocabulary::is_end(TokenId id) const {
  return std::find(end_tokens_.begin(), end_tokens_.end(), id) != end_tokens_.end();
}

}  // namespace lm::grammar
