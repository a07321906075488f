// engine/core/check.h — conditions that only a mistake in this program can break.
// Never used on anything that comes from a file, a request or the environment.
#pragma once

namespace lm {

[[noreturn]] void check_failed(const char* condition, const char* file, int line);

#define LM_CHECK(condition)                               \
  do {                                                    \
    if (!(condition)) [[unlikely]]                        \
      ::lm::check_failed(#condition, __FILE__, __LINE__); \
  } while (false)

}  // namespace lm
