// engine/core/checked.h — arithmetic on sizes that came from outside.
// Sizes are multiplied and added here, before anything is allocated or compared.
#pragma once
#include <cstdint>
#include <optional>

namespace lm {

inline std::optional<uint64_t> checked_mul(uint64_t a, uint64_t b) {
  uint64_t r;
  if (__builtin_mul_overflow(a, b, &r)) return std::nullopt;
  return r;
}

inline std::optional<uint64_t> checked_add(uint64_t a, uint64_t b) {
  uint64_t r;
  if (__builtin_add_overflow(a, b, &r)) return std::nullopt;
  return r;
}

// The smallest multiple of `alignment` (a power of two) that is >= n.
inline std::optional<uint64_t> checked_align(uint64_t n, uint64_t alignment) {
  const std::optional<uint64_t> up = checked_add(n, alignment - 1);
  if (!up) return std::nullopt;
  return *up & ~(alignment - 1);
}

}  // namespace lm
