#include "engine/text/vocab_tokenizer.h"

#include <utility>

namespace lm {
namespace {

bool is_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

}  // namespace

VocabTokenizer::VocabTokenizer(VocabTable table) : table_(std::move(table)) {
  for (TokenId id = 0; id < table_.size(); ++id) {
    const TokenType type = table_.type(id);
    if (type == TokenType::user_defined) user_defined_.add(table_.text(id), id);
    if (type == TokenType::user_defined || type == TokenType::control ||
        type == TokenType::unknown) {
      all_special_.add(table_.text(id), id);
    }
  }
}

void VocabTokenizer::encode(std::string_view text, Special special,
                            std::vector<TokenId>& out) const {
  const SpecialMatcher& matcher = special == Special::parse ? all_special_ : user_defined_;
  size_t done = 0;
  while (done < text.size()) {
    const std::optional<SpecialMatcher::Match> match = matcher.find(text, done);
    const size_t end = match ? match->begin : text.size();
    if (end > done) encode_text(text.substr(done, end - done), out);
    if (!match) return;
    out.push_back(match->id);
    done = match->begin + match->length;
    if (special == Special::parse && table_.eats_space(match->id)) {
      while (done < text.size() && is_space(text[done])) ++done;
    }
  }
}

std::string VocabTokenizer::decode(const std::vector<TokenId>& ids, bool at_start) const {
  std::string out;
  for (const TokenId id : ids) out += next_piece(id, at_start);
  return out;
}

}  // namespace lm
