// tests/support/support.h — what every test may use: skipping with a reason, fixtures, seeded
// noise.
#pragma once
#include <doctest/doctest.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "engine/core/result.h"

namespace lm::test {

// Counts the running test case as skipped, with its reason, in the summary. Use LM_SKIP.
void record_skip(std::string_view reason);
#define LM_SKIP(reason)              \
  do {                               \
    ::lm::test::record_skip(reason); \
    return;                          \
  } while (false)

// Sanitizers take memory and time of their own: limits of memory then say nothing about the
// program, and what only looks at numbers is left to other builds.
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define LM_SANITIZED
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(LM_SANITIZED)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

// `relative` below $LLM_FIXTURES, or below ../shared/fixtures beside the source tree; nullopt when
// there is no such file or folder.
std::optional<std::filesystem::path> fixture(std::string_view relative);
#define LM_FIXTURE(variable, relative)                                                         \
  const std::optional<std::filesystem::path> variable##_found = ::lm::test::fixture(relative); \
  if (!variable##_found) LM_SKIP(std::string("no fixture ") + (relative));                     \
  const std::filesystem::path& variable = *variable##_found

// Seeded generator (splitmix64): the same sequence on every machine.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next();
  uint64_t below(uint64_t n);         // [0, n)
  float uniform(float lo, float hi);  // [lo, hi)
  float normal();                     // mean 0, variance 1

 private:
  uint64_t state_;
};

// A folder that is removed with the object.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// REQUIREs that a Result is ok, prints its message otherwise, and moves the value out.
template <class T>
T require_ok(Result<T> result) {
  if (!result.ok()) FAIL(result.error().message);
  return std::move(result).value();
}

}  // namespace lm::test
