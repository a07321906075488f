// engine/text/tokenizer.h — text to ids and back. Bytes in, bytes out; never loses a byte that the
// vocabulary can express.
#pragma once
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/result.h"
#include "engine/core/text_range.h"
#include "engine/core/token.h"
#include "engine/text/vocab.h"
#include "gguf/file.h"

namespace lm {

class Tokenizer {
 public:
  // Everything it needs is copied: `file` may go. bad_file or unsupported on damaged or unknown
  // vocabularies (ids out of range, malformed byte tokens, merges of unknown tokens, ...).
  static Result<std::unique_ptr<Tokenizer>> from_gguf(const gguf::File& file);
  virtual ~Tokenizer() = default;

  enum class Special { as_text, parse };  // user text is as_text; rendered templates parse

  // Appends the ids of `text`; any bytes are accepted. No BOS or EOS is added here: see add_bos().
  // Thread-safe. Tokens that the file calls user-defined are found in user text too; control tokens
  // never come out of as_text.
  virtual void encode(std::string_view text, Special special, std::vector<TokenId>& out) const = 0;

  // The ids of a rendered prompt: as with Special::parse, except that control tokens are found only
  // where they lie wholly outside `input`, the ascending ranges that users wrote.
  virtual void encode_prompt(std::string_view text, std::span<const TextRange> input,
                             std::vector<TokenId>& out) const = 0;

  // For ids outside [0, size()) these four say "", "", undefined and false.
  // The token's raw bytes; may be part of a UTF-8 character. Control tokens give "" here;
  // text() gives their name. SentencePiece: "▁" is already a space.
  virtual std::string_view piece(TokenId id) const = 0;
  virtual std::string_view text(TokenId id) const = 0;  // as the file spells it: "<s>", "Ġthe"
  virtual TokenType type(TokenId id) const = 0;
  virtual bool is_end(TokenId id) const = 0;  // eos, eot, eom and their like: generation stops

  virtual int size() const = 0;
  virtual TokenId bos() const = 0;  // -1: there is none
  virtual TokenId eos() const = 0;
  virtual bool add_bos() const = 0;  // the file wants BOS before a prompt; false without a BOS
  virtual bool add_eos() const = 0;
  virtual TokenId find(std::string_view text) const = 0;  // id of the token spelled so; -1: none

  // The bytes that encode() was given. SentencePiece's dummy prefix space is dropped when ids start
  // a text (`at_start`).
  virtual std::string decode(const std::vector<TokenId>& ids, bool at_start = true) const = 0;

  // encode() puts a space before text, both at its start and after every special token.
  virtual bool has_space_prefix() const { return false; }
  // piece(id) without such a space. `at_start` says whether `id` starts a text, and is left saying
  // so for the token after it.
  std::string_view next_piece(TokenId id, bool& at_start) const;
};

// The tokenizer for a vocabulary that need not come from a file.
Result<std::unique_ptr<Tokenizer>> make_tokenizer(Vocab vocab);

// Per sequence: holds back bytes until they are whole characters.
class Detokenizer {
 public:
  // `tokenizer` must outlive this. at_start: the first token starts a text (see decode).
  explicit Detokenizer(const Tokenizer& tokenizer, bool at_start = false);
  std::string push(TokenId id);  // whole characters that are ready; invalid UTF-8 becomes U+FFFD
  std::string finish();          // what was held back (as U+FFFD if it never became a character)

 private:
  const Tokenizer* tokenizer_;
  std::string held_;  // at most 3 bytes between calls
  bool at_start_;
};

}  // namespace lm
