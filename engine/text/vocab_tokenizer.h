// engine/text/vocab_tokenizer.h — what every Tokenizer does alike: special tokens are cut out of
// the text here, and only what lies between them reaches the kind's own encode_text().
#pragma once
#include "engine/text/special_matcher.h"
#include "engine/text/tokenizer.h"
#include "engine/text/vocab_table.h"

namespace lm {

class VocabTokenizer : public Tokenizer {
 public:
  explicit VocabTokenizer(VocabTable table);

  void encode(std::string_view text, Special special, std::vector<TokenId>& out) const final;
  void encode_prompt(std::string_view text, std::span<const TextRange> input,
                     std::vector<TokenId>& out) const final;
  std::string decode(const std::vector<TokenId>& ids, bool at_start) const final;

  std::string_view piece(TokenId id) const final { return table_.piece(id); }
  std::string_view text(TokenId id) const final { return table_.text(id); }
  TokenType type(TokenId id) const final { return table_.type(id); }
  bool is_end(TokenId id) const final { return table_.is_end(id); }
  int size() const final { return table_.size(); }
  TokenId bos() const final { return table_.vocab().bos; }
  TokenId eos() const final { return table_.vocab().eos; }
  bool add_bos() const final { return bos() >= 0 && table_.vocab().add_bos.value_or(adds_bos()); }
  bool add_eos() const final { return eos() >= 0 && table_.vocab().add_eos; }
  TokenId find(std::string_view text) const final { return table_.find(text); }

 protected:
  const VocabTable& table() const { return table_; }

 private:
  class PromptMatcher;

  // `match(done)` is the next special token at or after a byte of `text`, if there is one.
  template <class Match>
  void encode_between(std::string_view text, bool may_eat_space, Match match,
                      std::vector<TokenId>& out) const;
  // `text` is not empty and has no special token in it that should be found.
  virtual void encode_text(std::string_view text, std::vector<TokenId>& out) const = 0;
  virtual bool adds_bos() const = 0;  // where the vocabulary does not say

  VocabTable table_;
  SpecialMatcher user_defined_;
  SpecialMatcher all_special_;
};

}  // namespace lm
