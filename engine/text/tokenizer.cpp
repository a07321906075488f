#include "engine/text/tokenizer.h"

#include <utility>

#include "engine/text/bpe.h"
#include "engine/text/spm.h"

namespace lm {

Result<std::unique_ptr<Tokenizer>> make_tokenizer(Vocab vocab) {
  switch (vocab.kind) {
    case Vocab::Kind::sentencepiece:
      return SpmTokenizer::create(std::move(vocab));
    case Vocab::Kind::byte_bpe:
      return BpeTokenizer::create(std::move(vocab));
  }
  return Error{ErrorCode::unsupported, "the vocabulary is of an unknown kind"};
}

Result<std::unique_ptr<Tokenizer>> Tokenizer::from_gguf(const gguf::File& file) {
  return make_tokenizer(LM_TRY(read_vocab(file)));
}

std::string_view Tokenizer::next_piece(TokenId id, bool& at_start) const {
  std::string_view bytes = piece(id);
  const TokenType kind = type(id);
  const bool special = kind == TokenType::control || kind == TokenType::user_defined;
  if (at_start && !special && has_space_prefix() && bytes.substr(0, 1) == " ") {
    bytes.remove_prefix(1);
  }
  at_start = special;
  return bytes;
}

}  // namespace lm
