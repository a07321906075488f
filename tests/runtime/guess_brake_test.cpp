#include "engine/runtime/guess_brake.h"

#include "tests/support/support.h"

namespace lm {
namespace {

TEST_CASE("guesses that are wrong become rare, and are made again where they are right") {
  GuessBrake brake;
  int n = 0;  // tokens
  const auto guesses = [&](int n_tokens, const auto& is_right) {
    int made = 0;
    for (const int end = n + n_tokens; n < end; ++n) {
      if (!brake.open(n)) continue;
      brake.note(is_right(n), n);
      ++made;
    }
    return made;
  };
  CHECK(guesses(100, [](int) { return true; }) == 100);
  CHECK(guesses(4096, [](int) { return false; }) == 7);  // after 16, 64, 256, 1024, 1024 ... more
  CHECK(guesses(2048, [](int) { return true; }) > 1024);
  CHECK(guesses(20000, [](int token) { return token % 100 != 0; }) > 16000);
  CHECK(guesses(20000, [](int token) { return token % 10 != 0; }) < 1000);
}

}  // namespace
}  // namespace lm
