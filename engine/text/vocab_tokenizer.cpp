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

template <class Match>
void VocabTokenizer::encode_between(std::string_view text, bool may_eat_space, Match next,
                                    std::vector<TokenId>& out) const {
  size_t done = 0;
  while (done < text.size()) {
    const std::optional<SpecialMatcher::Match> match = next(done);
    const size_t end = match ? match->begin : text.size();
    if (end > done) encode_text(text.substr(done, end - done), out);
    if (!match) return;
    out.push_back(match->id);
    done = match->begin + match->length;
    if (may_eat_space && table_.eats_space(match->id)) {
      while (done < text.size() && is_space(text[done])) ++done;
    }
  }
}

void VocabTokenizer::encode(std::string_view text, Special special,
                            std::vector<TokenId>& out) const {
  const bool parse = special == Special::parse;
  const SpecialMatcher& matcher = parse ? all_special_ : user_defined_;
  encode_between(
      text, parse, [&](size_t from) { return matcher.find(text, from); }, out);
}

// The next special token of a prompt: any kind where the text is the template's, only user-defined
// ones where it is not. Both searches only move forward.
class VocabTokenizer::PromptMatcher {
 public:
  PromptMatcher(const VocabTokenizer& tokenizer, std::string_view text,
                std::span<const TextRange> input)
      : tokenizer_(tokenizer), text_(text), input_(input) {}

  std::optional<SpecialMatcher::Match> next(size_t from) {
    if (!user_searched_ || (user_ && user_->begin < from)) {
      user_ = tokenizer_.user_defined_.find(text_, from);
      user_searched_ = true;
    }
    if (!own_searched_ || (own_ && own_->begin < from)) {
      own_ = find_own(from);
      own_searched_ = true;
    }
    if (!own_ || !user_) return own_ ? own_ : user_;
    if (own_->begin != user_->begin) return own_->begin < user_->begin ? own_ : user_;
    return own_->length >= user_->length ? own_ : user_;
  }

 private:
  // Wholly inside a part that is not input.
  std::optional<SpecialMatcher::Match> find_own(size_t from) {
    while (true) {
      while (range_ < input_.size() && input_[range_].end <= from) ++range_;
      const bool inside = range_ < input_.size() && input_[range_].begin <= from;
      if (inside) {
        from = input_[range_].end;
        continue;
      }
      const size_t end = range_ < input_.size() ? input_[range_].begin : text_.size();
      auto match = tokenizer_.all_special_.find(text_.substr(0, end), from);
      if (match || end == text_.size()) return match;
      from = end;
    }
  }

  const VocabTokenizer& tokenizer_;
  std::string_view text_;
  std::span<const TextRange> input_;
  size_t range_ = 0;
  bool user_searched_ = false, own_searched_ = false;
  std::optional<SpecialMatcher::Match> user_, own_;
};

void VocabTokenizer::encode_prompt(std::string_view text, std::span<const TextRange> input,
                                   std::vector<TokenId>& out) const {
  PromptMatcher matcher(*this, text, input);
  encode_between(
      text, true, [&](size_t from) { return matcher.next(from); }, out);
}

std::string VocabTokenizer::decode(const std::vector<TokenId>& ids, bool at_start) const {
  std::string out;
  for (const TokenId id : ids) out += next_piece(id, at_start);
  return out;
}

}  // namespace lm
