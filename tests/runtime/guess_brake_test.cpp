#include "engine/runtime/guess_brake.h"

#include "tests/support/support.h"

namespace lm {
namespace {

TEST_CASE("guesses that are wrong become rare, and are made again where they are right") {
  GuessBrake brake;
  int n = 0;  // tokens
  const auto guesses = [&](int n_tokens, const auto& is_right, int n_rows = 1) {
    int made = 0;
    for (const int end = n + n_tokens; n < end; ++n) {
      if (!brake.open(n)) continue;
      brake.note(is_right(n), n, n_rows);
      ++made;
    }
    return made;
  };
  CHECK(guesses(100, [](int) { return true; }) == 100);
  CHECK(guesses(4096, [](int) { return false; }) == 7);  // after 16, 64, 256, 1024, 1024 ... more
  CHECK(guesses(2048, [](int) { return true; }) > 1024);
  CHECK(guesses(20000, [](int token) { return token % 100 != 0; }) > 16000);
  CHECK(guesses(20000, [](int token) { return token % 10 != 0; }) < 1000);
  // In company pauses are shorter, but there always is one.
  brake = {};
  n = 0;
  const auto is_wrong = [](int) { return false; };
  CHECK(guesses(4096, is_wrong, 8) == 35);  // after 2, 8, 32, 128, 128 ... more
  brake = {};
  n = 7;
  CHECK(guesses(1, is_wrong, 1000) == 1);
  CHECK_FALSE(brake.open(7));
  CHECK(brake.open(8));
}

}  // namespace
}  // namespace lm
