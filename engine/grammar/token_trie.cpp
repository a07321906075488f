#include "engine/grammar/token_trie.h"

#include <algorithm>
#include <bitset>

#include "engine/core/utf8.h"

namespace lm::grammar {
namespace {

constexpr size_t kWorthAWhole = 8;  // nodes of a subtree; smaller ones are walked as fast

using ByteSet = std::bitset<256>;

ByteSet bytes_with_token(std::span<const std::string_view> pieces) {
  ByteSet bytes;
  for (const std::string_view piece : pieces) {
    if (piece.size() == 1) bytes.set(uint8_t(piece[0]));
  }
  return bytes;
}

// A character that was begun can always be finished.
bool has_continuations(const ByteSet& bytes) {
  for (size_t byte = 0x80; byte < 0xC0; ++byte) {
    if (!bytes[byte]) return false;
  }
  return true;
}

// Adds the characters of more than one byte that begin with a byte that has a token.
void append_led(std::vector<CharRange>& out, const ByteSet& bytes) {
  const auto add = [&](size_t lead, char32_t first, char32_t n_chars) {
    if (bytes[lead]) out.push_back({first, first + n_chars - 1});
  };
  for (size_t lead = 0xC2; lead < 0xE0; ++lead) add(lead, char32_t(lead & 0x1F) << 6, 0x40);
  add(0xE0, 0x800, 0x800);
  for (size_t lead = 0xE1; lead < 0xF0; ++lead) add(lead, char32_t(lead & 0xF) << 12, 0x1000);
  add(0xF0, 0x10000, 0x30000);
  for (size_t lead = 0xF1; lead < 0xF4; ++lead) add(lead, char32_t(lead & 7) << 18, 0x40000);
  add(0xF4, 0x100000, 0x10000);
}

}  // namespace

TokenTrie::TokenTrie(std::span<const std::string_view> pieces) : n_tokens_(pieces.size()) {
  const bool any_bytes = has_continuations(bytes_with_token(pieces));
  std::vector<TokenId> order;
  for (size_t id = 0; id < pieces.size(); ++id) {
    if (pieces[id].empty() || pieces[id].size() > kMaxPiece) continue;
    if (any_bytes || utf8::is_valid(pieces[id])) order.push_back(TokenId(id));
  }
  const auto piece = [&](TokenId id) { return pieces[size_t(id)]; };
  std::sort(order.begin(), order.end(), [&](TokenId a, TokenId b) {
    return piece(a) != piece(b) ? piece(a) < piece(b) : a < b;
  });
  std::vector<uint32_t> path;  // the nodes that spell the piece before
  std::string_view before;
  const auto close = [&](size_t depth) {
    for (; path.size() > depth; path.pop_back()) nodes_[path.back()].end = uint32_t(nodes_.size());
  };
  for (const TokenId id : order) {
    const std::string_view bytes = piece(id);
    const auto [mine, theirs] =
        std::mismatch(bytes.begin(), bytes.end(), before.begin(), before.end());
    const auto common = size_t(mine - bytes.begin());
    close(common);
    for (size_t i = common; i < bytes.size(); ++i) {
      if (i == kShort && nodes_[path.back()].is_leaf != 0) {
        deep_.push_back({path.back(), std::string(bytes.substr(0, i))});
      }
      if (!path.empty()) nodes_[path.back()].is_leaf = 0;
      path.push_back(uint32_t(nodes_.size()));
      nodes_.push_back({uint8_t(bytes[i]), 1, uint16_t(i + 1), 0, uint32_t(tokens_.size())});
    }
    tokens_.push_back(id);
    longest_ = std::max(longest_, bytes.size());
    before = bytes;
  }
  close(0);
  nodes_.push_back({0, 1, 0, 0, uint32_t(tokens_.size())});
  find_plain();
  find_spellable(pieces);
}

// From the leaves up: what is below a node is its children and what is below them.
void TokenTrie::find_plain() {
  std::vector<Plain> below(size());
  std::vector<bool> is_ascii(size(), true);
  plain_of_.assign(size(), kNone);
  for (size_t i = size(); i-- > 0;) {
    Plain& mine = below[i];
    for (size_t child = i + 1; child < nodes_[i].end; child = nodes_[child].end) {
      const uint8_t byte = nodes_[child].byte;
      is_ascii[i] = is_ascii[i] && is_ascii[child] && byte < 0x80;
      mine.bytes[byte / 64 % 2] |= uint64_t{1} << (byte % 64);
      for (size_t word = 0; word < 2; ++word) mine.bytes[word] |= below[child].bytes[word];
      mine.height = std::max(mine.height, below[child].height + 1);
    }
    const bool worth = nodes_[i].end - i > kWorthAWhole;
    if (!worth || !is_ascii[i] || nodes_[i].depth + mine.height > kShort) continue;
    plain_of_[i] = uint32_t(plains_.size());
    plains_.push_back(mine);
  }
}

void TokenTrie::find_spellable(std::span<const std::string_view> pieces) {
  const ByteSet bytes = bytes_with_token(pieces);
  std::vector<CharRange> ranges;
  for (const std::string_view piece : pieces) {
    const utf8::Decoded decoded = utf8::decode(piece);
    if (!piece.empty() && decoded.valid && size_t(decoded.length) == piece.size()) {
      ranges.push_back({decoded.code_point, decoded.code_point});
    }
  }
  if (has_continuations(bytes)) append_led(ranges, bytes);
  spellable_ = CharSet(std::move(ranges));
}

}  // namespace lm::grammar
