// engine/text/vocab_table.h — a checked vocabulary with what every kind of tokenizer asks of it:
// spelling to id, id to bytes, which ids are special, which end a generation.
#pragma once
#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/result.h"
#include "engine/text/flat_index.h"
#include "engine/text/vocab.h"

namespace lm {

class VocabTable {
 public:
  // Takes `vocab` but for its merges, which are only read while a tokenizer is built. Tolerated:
  // equal spellings (the first id is found), empty tokens, more scores or types than tokens,
  // types outside the format (undefined). Everything else that does not fit is bad_file.
  static Result<VocabTable> build(Vocab vocab);

  int size() const { return static_cast<int>(vocab_.tokens.size()); }
  const Vocab& vocab() const { return vocab_; }

  // These accept any id: "" and undefined outside the vocabulary.
  std::string_view text(TokenId id) const {
    return contains(id) ? std::string_view(vocab_.tokens[at(id)]) : std::string_view();
  }
  std::string_view piece(TokenId id) const;
  TokenType type(TokenId id) const { return contains(id) ? types_[at(id)] : TokenType::undefined; }
  bool is_end(TokenId id) const { return contains(id) && is_end_[at(id)]; }

  // White space that follows this token in parsed text belongs to it.
  bool eats_space(TokenId id) const;

  TokenId find(std::string_view text) const;
  // The same, but only a token that ordinary text may become by merging: never a special, byte or
  // unused one.
  static bool is_plain(TokenType type) {
    return type == TokenType::normal || type == TokenType::undefined;
  }
  TokenId find_plain(std::string_view text) const;
  TokenId byte_token(unsigned char byte) const { return byte_tokens_[byte]; }  // "<0xHH>"; -1: none

 private:
  explicit VocabTable(Vocab vocab);
  bool contains(TokenId id) const { return id >= 0 && id < size(); }
  static size_t at(TokenId id) { return static_cast<size_t>(id); }

  Status check_ids() const;
  Status take_types();
  Status take_bytes();
  void index_texts();
  void mark_ends();
  void spell_pieces();

  Vocab vocab_;
  std::vector<TokenType> types_;
  std::vector<bool> is_end_;
  FlatIndex by_text_;
  std::array<TokenId, 256> byte_tokens_;
  std::string pieces_;              // the bytes of all tokens, one after the other
  std::vector<size_t> piece_ends_;  // where each ends
};

}  // namespace lm
