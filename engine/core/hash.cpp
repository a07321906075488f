#include "engine/core/hash.h"

#define XXH_STATIC_LINKING_ONLY  // the size of the state of a stream
#include <xxhash.h>

#include <array>
#include <cstdio>

#include "engine/core/check.h"

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

struct HashStream::State {
  XXH3_state_t stream;  // aligned as xxHash declares it
};

HashStream::HashStream() : state_(std::make_unique<State>()) {
  LM_CHECK(XXH3_128bits_reset(&state_->stream) == XXH_OK);
}

HashStream::~HashStream() = default;

void HashStream::add(std::span<const std::byte> bytes) {
  LM_CHECK(XXH3_128bits_update(&state_->stream, bytes.data(), bytes.size()) == XXH_OK);
}

Hash128 HashStream::value() const {
  const XXH128_hash_t hash = XXH3_128bits_digest(&state_->stream);
  return {hash.low64, hash.high64};
}

std::string hex(const Hash128& hash) {
  std::array<char, 33> text;
  std::snprintf(text.data(), text.size(), "%016llx%016llx", (unsigned long long)hash.high,
                (unsigned long long)hash.low);
  return text.data();
}

}  // namespace lm
