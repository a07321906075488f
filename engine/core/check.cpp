#include "engine/core/check.h"

#include <cstdio>
#include <cstdlib>

namespace lm {

void check_failed(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "llm: internal error: %s (%s:%d)\n", condition, file, line);
  std::abort();
}

}  // namespace lm
