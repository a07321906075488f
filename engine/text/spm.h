// engine/text/spm.h — SentencePiece-style tokenizers ("llama"): spaces become "▁", and characters
// merge, first the pair whose result has the highest score, or, where the vocabulary carries
// merges, by their rank. What is no token is spelled in byte tokens, or is unknown. Source: Kudo
// and Richardson 2018, "SentencePiece" (its BPE model).
#pragma once
#include <memory>

#include "engine/text/merge_table.h"
#include "engine/text/vocab_tokenizer.h"

namespace lm {

class SpmTokenizer final : public VocabTokenizer {
 public:
  static Result<std::unique_ptr<Tokenizer>> create(Vocab vocab);
  bool has_space_prefix() const override { return table().vocab().add_space_prefix; }

 private:
  SpmTokenizer(VocabTable table, MergeTable merges);

  void encode_text(std::string_view text, std::vector<TokenId>& out) const override;
  bool encode_word(std::string_view word, MergeQueue& queue, std::vector<TokenId>& out,
                   size_t& unknown_end) const;
  bool spell_bytes(std::string_view bytes, std::vector<TokenId>& out, size_t& unknown_end) const;
  Merge find_merge(std::string_view both) const;
  bool adds_bos() const override { return true; }
  void index_neighbours();
  size_t word_end(std::string_view text, size_t begin) const;

  MergeTable merges_;     // empty: scores decide
  size_t max_bytes_ = 0;  // of a token that merging may make
  // Which two characters stand side by side in some token, hashed: those that never do cannot
  // merge, and the text is cut between them into words that are encoded (and cached) apart.
  std::vector<bool> neighbours_;
};

}  // namespace lm
