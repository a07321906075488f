// engine/kv/block_file.h — one KV block as the bytes of a file: what it belongs to, the tokens it
// holds, K and V, and checksums of all of it. Whatever is damaged, cut off or of something else is
// no block. Numbers are stored as this machine has them: what computed them is part of the name.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/core/hash.h"
#include "engine/core/token.h"
#include "engine/kv/prefix_index.h"

namespace lm {

struct BlockRecord {
  Hash128 space;   // model, KV type, device: whatever decides what K and V are of given tokens
  Hash128 parent;  // chain key of the blocks before
  int index = 0;   // how many those are
  std::span<const TokenId> tokens;
  bool is_tail = false;  // the unfinished block at the end of a text

  Hash128 key() const { return PrefixIndex::chain_key(parent, tokens); }
};

// All that stands before the payload.
std::vector<std::byte> block_file_head(const BlockRecord& record,
                                       std::span<const std::byte> payload);
// The tokens that a file says it holds; empty when it can't be one. Nothing of it is verified.
std::vector<TokenId> block_file_tokens(std::span<const std::byte> file);
// The payload of `file`; nullopt when it is not exactly this record with that many bytes.
std::optional<std::span<const std::byte>> block_file_payload(std::span<const std::byte> file,
                                                             const BlockRecord& record,
                                                             size_t payload_bytes);

}  // namespace lm
