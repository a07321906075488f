#include "engine/core/hash.h"

#include <xxhash.h>

namespace lm {

Hash128 hash128(std::span<const std::byte> bytes) {
  const XXH128_hash_t hash = XXH3_128bits(bytes.data(), bytes.size());
  return {hash.low64, hash.high64};
}

// The hash before is the seed of one half, and its other half is mixed into the result of both.
Hash128 hash128(Hash128 before, std::span<const std::byte> bytes) {
  const XXH128_hash_t hash = XXH3_128bits_withSeed(bytes.data(), bytes.size(), before.low);
  const uint64_t words[] = {hash.low64, hash.high64, before.high};
  return hash128(std::as_bytes(std::span(words)));
}

uint64_t hash64(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

}  // namespace lm
