// engine/text/bpe.h — byte-level BPE ("gpt2"): the pre-tokenizer cuts text into words, and inside a
// word bytes merge by rank. Every byte is a symbol, so any bytes can be encoded.
// Source: Radford et al. 2019 (GPT-2); Sennrich et al. 2016.
#pragma once
#include <memory>

#include "engine/text/byte_alphabet.h"
#include "engine/text/merge_table.h"
#include "engine/text/pretokenizer.h"
#include "engine/text/vocab_tokenizer.h"

namespace lm {

class BpeTokenizer final : public VocabTokenizer {
 public:
  static Result<std::unique_ptr<Tokenizer>> create(Vocab vocab);

 private:
  BpeTokenizer(VocabTable table, MergeTable merges, Pretokenizer pretokenizer);

  void encode_text(std::string_view text, std::vector<TokenId>& out) const override;
  void encode_word(std::string_view word, MergeQueue& queue, std::vector<TokenId>& out) const;
  bool adds_bos() const override { return pretokenizer_.adds_bos(); }

  MergeTable merges_;
  Pretokenizer pretokenizer_;
  ByteAlphabet alphabet_;
  std::array<TokenId, 256> byte_ids_;  // the token of each single byte; -1: there is none
};

}  // namespace lm
