#include "engine/text/vocab_table.h"

#include <cmath>
#include <functional>
#include <optional>
#include <utility>

#include "engine/core/text.h"
#include "engine/text/byte_alphabet.h"
#include "engine/text/end_tokens.h"

namespace lm {
namespace {

constexpr size_t kMaxTokens = 1 << 24;      // the largest vocabularies have 2^18
constexpr size_t kMaxTokenBytes = 1 << 16;  // and their longest tokens 2^8 bytes

Error bad(std::string message) {
  return {ErrorCode::bad_file, std::move(message)};
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

// "<0x0A>" is 10; everything that is not exactly of this form is nullopt.
std::optional<unsigned char> parse_byte_token(std::string_view text) {
  if (text.size() != 6 || text.substr(0, 3) != "<0x" || text[5] != '>') return std::nullopt;
  const int high = hex_digit(text[3]);
  const int low = hex_digit(text[4]);
  if (high < 0 || low < 0) return std::nullopt;
  return static_cast<unsigned char>(high * 16 + low);
}

void append_with_spaces(std::string& out, std::string_view text) {
  constexpr std::string_view kSpace = "▁";
  for (size_t i = 0; i < text.size();) {
    if (text.substr(i, kSpace.size()) == kSpace) {
      out.push_back(' ');
      i += kSpace.size();
    } else {
      out.push_back(text[i++]);
    }
  }
}

Status check_lengths(const Vocab& vocab) {
  const size_t n = vocab.tokens.size();
  if (n == 0) return bad("the vocabulary has no tokens");
  if (n > kMaxTokens) {
    return bad(concat("the vocabulary has ", n, " tokens; at most ", kMaxTokens, " are possible"));
  }
  if (!vocab.types.empty() && vocab.types.size() < n) {
    return bad(
        concat("the vocabulary has ", n, " tokens but ", vocab.types.size(), " token types"));
  }
  if (!vocab.scores.empty() && vocab.scores.size() < n) {
    return bad(concat("the vocabulary has ", n, " tokens but ", vocab.scores.size(), " scores"));
  }
  for (size_t i = 0; i < vocab.scores.size(); ++i) {
    if (std::isnan(vocab.scores[i]))
      return bad(concat("the score of token ", i, " is not a number"));
  }
  for (size_t i = 0; i < n; ++i) {
    if (vocab.tokens[i].size() > kMaxTokenBytes) {
      return bad(concat("token ", i, " has ", vocab.tokens[i].size(), " bytes; at most ",
                        kMaxTokenBytes, " are possible"));
    }
  }
  return ok();
}

}  // namespace

VocabTable::VocabTable(Vocab vocab) : vocab_(std::move(vocab)), by_text_(vocab_.tokens.size()) {
  byte_tokens_.fill(-1);
}

Result<VocabTable> VocabTable::build(Vocab vocab) {
  LM_TRY(check_lengths(vocab));
  VocabTable table(std::move(vocab));
  LM_TRY(table.check_ids());
  LM_TRY(table.take_types());
  LM_TRY(table.take_bytes());
  table.index_texts();
  table.mark_ends();
  table.spell_pieces();
  return table;
}

Status VocabTable::check_ids() const {
  const std::pair<const char*, TokenId> ids[] = {
      {"BOS", vocab_.bos}, {"EOS", vocab_.eos}, {"unknown", vocab_.unk},
      {"EOT", vocab_.eot}, {"EOM", vocab_.eom},
  };
  for (const auto& [name, id] : ids) {
    if (id != -1 && !contains(id)) {
      return bad(concat("the ", name, " token has id ", id, ", but the vocabulary has only ",
                        size(), " tokens"));
    }
  }
  return ok();
}

Status VocabTable::take_types() {
  types_ = std::move(vocab_.types);
  if (types_.empty()) {
    types_.assign(vocab_.tokens.size(), TokenType::normal);
    for (size_t i = 0; i < types_.size(); ++i) {
      if (parse_byte_token(vocab_.tokens[i])) types_[i] = TokenType::byte;
    }
    for (const TokenId id : {vocab_.bos, vocab_.eos, vocab_.eot, vocab_.eom}) {
      if (contains(id)) types_[at(id)] = TokenType::control;
    }
    if (contains(vocab_.unk)) types_[at(vocab_.unk)] = TokenType::unknown;
  }
  types_.resize(vocab_.tokens.size());
  return ok();
}

Status VocabTable::take_bytes() {
  for (TokenId id = 0; id < size(); ++id) {
    if (types_[at(id)] != TokenType::byte) continue;
    const std::optional<unsigned char> byte = parse_byte_token(text(id));
    if (!byte) {
      return bad(concat("token ", id, " is a byte token, but \"", printable(text(id)),
                        "\" is not of the form <0xHH>"));
    }
    if (byte_tokens_[*byte] < 0) byte_tokens_[*byte] = id;
  }
  return ok();
}

void VocabTable::index_texts() {
  const std::hash<std::string_view> hash;
  for (uint32_t id = 0; id < vocab_.tokens.size(); ++id) {
    const std::string_view text = vocab_.tokens[id];
    by_text_.insert(hash(text), id, [&](uint32_t other) { return vocab_.tokens[other] == text; });
  }
}

void VocabTable::mark_ends() {
  is_end_.resize(vocab_.tokens.size());
  for (const std::string_view text : end_token_texts()) {
    const TokenId id = find(text);
    if (id < 0) continue;
    is_end_[at(id)] = true;
    types_[at(id)] = TokenType::control;
  }
  for (const std::string_view text : end_token_texts_if_control()) {
    const TokenId id = find(text);
    if (id >= 0 && types_[at(id)] == TokenType::control) is_end_[at(id)] = true;
  }
  // gpt-oss ends every message of a turn with <|end|>; the turn goes on.
  const TokenId message_end = find("<|end|>");
  if (message_end >= 0 && find("<|return|>") >= 0 && find("<|call|>") >= 0) {
    is_end_[at(message_end)] = false;
  }
  for (const TokenId id : {vocab_.eos, vocab_.eot, vocab_.eom}) {
    if (id >= 0) is_end_[at(id)] = true;
  }
}

void VocabTable::spell_pieces() {
  const ByteAlphabet alphabet;
  piece_ends_.reserve(vocab_.tokens.size());
  for (TokenId id = 0; id < size(); ++id) {
    switch (types_[at(id)]) {
      case TokenType::control:
      case TokenType::unknown:
        break;
      case TokenType::user_defined:
        pieces_ += text(id);
        break;
      case TokenType::byte:
        pieces_.push_back(static_cast<char>(*parse_byte_token(text(id))));
        break;
      case TokenType::undefined:
      case TokenType::normal:
      case TokenType::unused:
        if (vocab_.kind == Vocab::Kind::sentencepiece) {
          append_with_spaces(pieces_, text(id));
        } else {
          pieces_ += alphabet.read(text(id)).value_or(std::string(text(id)));
        }
    }
    piece_ends_.push_back(pieces_.size());
  }
  pieces_.shrink_to_fit();
}

std::string_view VocabTable::piece(TokenId id) const {
  if (!contains(id)) return "";
  const size_t begin = id == 0 ? 0 : piece_ends_[at(id) - 1];
  return std::string_view(pieces_).substr(begin, piece_ends_[at(id)] - begin);
}

bool VocabTable::eats_space(TokenId id) const {
  if (!vocab_.special_eats_space) return false;
  const std::string_view name = text(id);
  return name != "<unk>" && name != "<s>" && name != "<|endoftext|>";
}

TokenId VocabTable::find(std::string_view text) const {
  const uint32_t id = by_text_.find(std::hash<std::string_view>{}(text),
                                    [&](uint32_t other) { return vocab_.tokens[other] == text; });
  return id == FlatIndex::kNone ? -1 : static_cast<TokenId>(id);
}

TokenId VocabTable::find_plain(std::string_view text) const {
  const TokenId id = find(text);
  return is_plain(type(id)) ? id : -1;
}

}  // namespace lm
