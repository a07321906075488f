// engine/core/hash.h — fast hashes of bytes, the same on every machine and in every version: they
// name what is stored in files. Not against someone who wants two things to have the same hash.
// XXH3, as the xxHash specification fixes it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace lm {

struct Hash128 {
  uint64_t low = 0, high = 0;
  bool operator==(const Hash128&) const = default;
};

Hash128 hash128(std::span<const std::byte> bytes);
// The same of `bytes` behind something else whose hash is `before`: a chain.
Hash128 hash128(Hash128 before, std::span<const std::byte> bytes);
uint64_t hash64(std::span<const std::byte> bytes);

// hash128 of bytes that come in pieces.
class HashStream {
 public:
  HashStream();
  ~HashStream();
  HashStream(const HashStream&) = delete;
  HashStream& operator=(const HashStream&) = delete;

  void add(std::span<const std::byte> bytes);
  Hash128 value() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string hex(const Hash128& hash);  // 32 digits

}  // namespace lm
