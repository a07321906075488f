#include "engine/kv/block_file.h"

#include <array>
#include <cstring>

namespace lm {
namespace {

constexpr std::array<char, 8> kMagic = {'L', 'L', 'M', 'K', 'V', '0', '0', '1'};
constexpr size_t kAlignment = 64;  // of the payload

struct Header {
  std::array<char, 8> magic;
  Hash128 space, parent, key, payload_hash;
  uint64_t payload_bytes, n_tokens, index;
  uint64_t head_hash;  // of all before it, and of the tokens that follow
};
static_assert(sizeof(Header) == 8 + 4 * 16 + 4 * 8);

size_t head_bytes(size_t n_tokens) {
  const size_t used = sizeof(Header) + n_tokens * sizeof(TokenId);
  return (used + kAlignment - 1) / kAlignment * kAlignment;
}

Header header_of(const BlockRecord& record, size_t payload_bytes, const Hash128& payload_hash) {
  return {.magic = kMagic,
          .space = record.space,
          .parent = record.parent,
          .key = record.key(),
          .payload_hash = payload_hash,
          .payload_bytes = payload_bytes,
          .n_tokens = record.tokens.size(),
          .index = uint64_t(record.index),
          .head_hash = 0};
}

// The header and the tokens with their hash in its place.
std::vector<std::byte> head_of(Header header, std::span<const TokenId> tokens) {
  std::vector<std::byte> head(head_bytes(tokens.size()), std::byte{0});
  std::memcpy(head.data(), &header, sizeof(header));
  std::memcpy(head.data() + sizeof(header), tokens.data(), tokens.size_bytes());
  header.head_hash = hash64(head);
  std::memcpy(head.data(), &header, sizeof(header));
  return head;
}

}  // namespace

std::vector<std::byte> block_file_head(const BlockRecord& record,
                                       std::span<const std::byte> payload) {
  return head_of(header_of(record, payload.size(), hash128(payload)), record.tokens);
}

std::vector<TokenId> block_file_tokens(std::span<const std::byte> file) {
  Header found;
  if (file.size() < sizeof(found)) return {};
  std::memcpy(&found, file.data(), sizeof(found));
  const size_t room = (file.size() - sizeof(found)) / sizeof(TokenId);
  if (found.magic != kMagic || found.n_tokens > room) return {};
  std::vector<TokenId> tokens(size_t(found.n_tokens));
  std::memcpy(tokens.data(), file.data() + sizeof(found), tokens.size() * sizeof(TokenId));
  return tokens;
}

// The head is compared with the one that this record would have.
std::optional<std::span<const std::byte>> block_file_payload(std::span<const std::byte> file,
                                                             const BlockRecord& record,
                                                             size_t payload_bytes) {
  const size_t n_head = head_bytes(record.tokens.size());
  if (file.size() < n_head || file.size() - n_head != payload_bytes) return std::nullopt;
  Header found;
  std::memcpy(&found, file.data(), sizeof(found));
  const std::vector<std::byte> expected =
      head_of(header_of(record, payload_bytes, found.payload_hash), record.tokens);
  if (std::memcmp(file.data(), expected.data(), n_head) != 0) return std::nullopt;
  const std::span<const std::byte> payload = file.subspan(n_head);
  if (hash128(payload) != found.payload_hash) return std::nullopt;
  return payload;
}

}  // namespace lm
