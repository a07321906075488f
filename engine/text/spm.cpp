#include "engine/text/spm.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "engine/core/utf8.h"
#include "engine/text/word_cache.h"

namespace lm {
namespace {

constexpr std::string_view kSpace = "▁";
constexpr int kNeighbourBits = 21;  // of the hash: 256 KiB of flags

// Bytes of the first character; invalid bytes stand for themselves, one by one.
size_t char_length(std::string_view text) {
  const utf8::Decoded d = utf8::decode(text);
  return d.valid ? static_cast<size_t>(d.length) : 1;
}

// Invalid bytes get numbers beyond Unicode, so that they are told apart.
uint32_t char_number(std::string_view text) {
  const utf8::Decoded d = utf8::decode(text);
  return d.valid ? d.code_point : 0x110000u + static_cast<unsigned char>(text[0]);
}

size_t pair_slot(uint32_t left, uint32_t right) {
  const uint64_t pair = uint64_t{left} << 32 | right;
  return static_cast<size_t>(pair * 0x9E3779B97F4A7C15u >> (64 - kNeighbourBits));
}

// Ranks order as scores do, the highest first. (The bits of an IEEE float order like its value, but
// for the sign.)
uint32_t rank_of(float score) {
  const auto bits = std::bit_cast<uint32_t>(score + 0.0f);  // -0 is 0
  const uint32_t ascending = (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
  return ~ascending;
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> SpmTokenizer::create(Vocab vocab) {
  const std::vector<std::string> merges = std::move(vocab.merges);
  if (merges.empty() && vocab.scores.empty()) {
    return Error{ErrorCode::bad_file,
                 "a SentencePiece vocabulary needs scores or merges; this one has neither"};
  }
  VocabTable table = LM_TRY(VocabTable::build(std::move(vocab)));
  MergeTable merge_table = LM_TRY(MergeTable::build(table, merges));
  return std::unique_ptr<Tokenizer>(new SpmTokenizer(std::move(table), std::move(merge_table)));
}

SpmTokenizer::SpmTokenizer(VocabTable vocab_table, MergeTable merges)
    : VocabTokenizer(std::move(vocab_table)), merges_(std::move(merges)) {
  index_neighbours();
}

void SpmTokenizer::index_neighbours() {
  neighbours_.resize(size_t{1} << kNeighbourBits);
  for (TokenId id = 0; id < size(); ++id) {
    const std::string_view text = table().text(id);
    if (text.empty() || table().find_plain(text) != id) continue;
    max_bytes_ = std::max(max_bytes_, text.size());
    uint32_t left = char_number(text);
    for (size_t i = char_length(text); i < text.size(); i += char_length(text.substr(i))) {
      const uint32_t right = char_number(text.substr(i));
      neighbours_[pair_slot(left, right)] = true;
      left = right;
    }
  }
}

size_t SpmTokenizer::word_end(std::string_view text, size_t begin) const {
  size_t end = begin + char_length(text.substr(begin));
  uint32_t left = char_number(text.substr(begin));
  while (end < text.size() && end - begin < kMaxWordBytes) {
    const uint32_t right = char_number(text.substr(end));
    if (!neighbours_[pair_slot(left, right)]) break;
    end += char_length(text.substr(end));
    left = right;
  }
  return end;
}

void SpmTokenizer::encode_text(std::string_view text, std::vector<TokenId>& out) const {
  std::string escaped;
  escaped.reserve(text.size() + text.size() / 2);
  if (has_space_prefix()) escaped += kSpace;
  for (const char c : text) {
    if (c == ' ') {
      escaped += kSpace;
    } else {
      escaped.push_back(c);
    }
  }
  MergeQueue queue;
  WordCache cache(out);
  size_t unknown_end = 0;  // out.size() after the last unknown token: runs of them are one
  for (size_t begin = 0; begin < escaped.size();) {
    const size_t end = word_end(escaped, begin);
    cache.append(std::string_view(escaped).substr(begin, end - begin),
                 [&](std::string_view word) { return encode_word(word, queue, out, unknown_end); });
    begin = end;
  }
}

// True when every byte was expressed: the ids then depend on the word alone.
bool SpmTokenizer::encode_word(std::string_view word, MergeQueue& queue, std::vector<TokenId>& out,
                               size_t& unknown_end) const {
  queue.clear();
  for (size_t i = 0; i < word.size();) {
    const size_t length = char_length(word.substr(i));
    queue.add(length, table().find_plain(word.substr(i, length)));
    i += length;
  }
  if (merges_.empty()) {
    queue.run([&](const MergeQueue::Symbol& left, const MergeQueue::Symbol& right) {
      return find_merge(word.substr(left.begin, left.length + right.length));
    });
  } else {
    queue.run([&](const MergeQueue::Symbol& left, const MergeQueue::Symbol& right) {
      return merges_.find(left.id, right.id);
    });
  }
  bool known = true;
  queue.for_each([&](const MergeQueue::Symbol& symbol) {
    if (symbol.id >= 0) {
      out.push_back(symbol.id);
    } else {
      known &= spell_bytes(word.substr(symbol.begin, symbol.length), out, unknown_end);
    }
  });
  return known;
}

Merge SpmTokenizer::find_merge(std::string_view both) const {
  if (both.size() > max_bytes_) return {};
  const TokenId id = table().find_plain(both);
  if (id < 0) return {};
  return {rank_of(table().vocab().scores[static_cast<size_t>(id)]), id};
}

bool SpmTokenizer::spell_bytes(std::string_view bytes, std::vector<TokenId>& out,
                               size_t& unknown_end) const {
  if (bytes == kSpace && table().byte_token(' ') >= 0) bytes = " ";
  bool known = true;
  for (const char byte : bytes) {
    const TokenId id = table().byte_token(static_cast<unsigned char>(byte));
    if (id >= 0) {
      out.push_back(id);
      continue;
    }
    known = false;
    const TokenId unk = table().vocab().unk;
    if (unk < 0 || (unknown_end == out.size() && unknown_end > 0)) continue;
    out.push_back(unk);
    unknown_end = out.size();
  }
  return known;
}

}  // namespace lm
