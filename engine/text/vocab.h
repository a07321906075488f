// engine/text/vocab.h — a vocabulary as plain data, before anything is checked or indexed.
// It comes from GGUF metadata (read_vocab), from a conversion or from a test; make_tokenizer()
// checks it and turns it into a Tokenizer.
// Source: ggml-org/ggml docs/gguf.md, "Tokenizer".
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/core/result.h"
#include "engine/core/token.h"
#include "gguf/file.h"

namespace lm {

// tokenizer.ggml.token_type
enum class TokenType : uint8_t {
  undefined = 0,
  normal,
  unknown,
  control,
  user_defined,
  unused,
  byte
};

struct Vocab {
  // tokenizer.ggml.model: "llama" is sentencepiece, "gpt2" is byte_bpe.
  enum class Kind { sentencepiece, byte_bpe };

  Kind kind = Kind::sentencepiece;
  std::vector<std::string> tokens;  // by id; sentencepiece spells a space "▁", byte_bpe "Ġ"
  std::vector<float> scores;        // by id; the pair with the highest score merges first
  std::vector<TokenType> types;     // by id; empty: all normal
  std::vector<std::string> merges;  // "left right", the first merges first; decides over scores
  std::string pre;                  // byte_bpe: name of the pre-tokenizer; empty: "gpt-2"

  // -1: there is none.
  TokenId bos = -1, eos = -1, unk = -1;
  TokenId eot = -1, eom = -1;   // end of turn, end of message
  std::optional<bool> add_bos;  // nullopt: as is usual for this kind and pre-tokenizer
  bool add_eos = false;
  bool add_space_prefix = true;     // sentencepiece: a space is put before text
  bool special_eats_space = false;  // white space after a parsed special token is dropped (Phi-3)
};

// bad_file when a key has the wrong type or an id is out of range; unsupported when the file has no
// vocabulary or one of another kind.
Result<Vocab> read_vocab(const gguf::File& file);

}  // namespace lm
