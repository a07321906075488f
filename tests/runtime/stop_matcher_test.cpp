// Stop texts end the output wherever the pieces of text are cut.
#include "engine/runtime/stop_matcher.h"

#include <algorithm>
#include <string>
#include <vector>

#include "tests/support/support.h"

namespace lm {
namespace {

TEST_CASE("without stops, text passes at once") {
  StopMatcher matcher({});
  CHECK(matcher.push("hello") == "hello");
  CHECK(matcher.flush().empty());
  CHECK_FALSE(matcher.matched());
}

TEST_CASE("what may begin a stop is held back, and released when it does not") {
  StopMatcher matcher({"\n\nUser:"});
  CHECK(matcher.push("a\n") == "a");
  CHECK(matcher.push("\n").empty());
  CHECK(matcher.push("Us").empty());
  CHECK(matcher.push("e it") == "\n\nUse it");
  CHECK(matcher.push("\n\nUser") == "");
  CHECK(matcher.push(": hi").empty());
  CHECK(matcher.matched());
  CHECK(matcher.push("more").empty());
  CHECK(matcher.flush().empty());
}

TEST_CASE("held text that no stop followed comes with the end") {
  StopMatcher matcher({"STOP"});
  CHECK(matcher.push("go ST") == "go ");
  CHECK(matcher.flush() == "ST");
  CHECK_FALSE(matcher.matched());
}

TEST_CASE("the earliest stop counts") {
  StopMatcher matcher({"lo", "ell"});
  CHECK(matcher.push("hello") == "h");
  CHECK(matcher.matched());
}

TEST_CASE("a false start inside a stop is found again") {
  StopMatcher matcher({"aab"});
  std::string shown;
  for (const char c : std::string("aaaab!")) shown += matcher.push(std::string_view(&c, 1));
  CHECK(shown == "aa");
  CHECK(matcher.matched());
}

TEST_CASE("random texts, stops and cuts: shown is the text before the earliest stop") {
  test::Random random(3);
  const auto random_text = [&](size_t n) {
    std::string text;
    for (size_t i = 0; i < n; ++i) text += char('a' + random.below(3));
    return text;
  };
  for (int round = 0; round < 3000; ++round) {
    std::vector<std::string> stops;
    for (size_t i = 0; i < random.below(4); ++i) stops.push_back(random_text(1 + random.below(6)));
    const std::string text = random_text(random.below(40));
    StopMatcher matcher(stops);
    std::string shown;
    size_t at = 0;
    while (at < text.size() && !matcher.matched()) {
      const size_t n = std::min(text.size() - at, size_t(random.below(5)));
      shown += matcher.push(std::string_view(text).substr(at, n));
      at += n;
      // Nothing of a stop that is still possible was shown.
      CHECK(shown == text.substr(0, shown.size()));
    }
    shown += matcher.flush();
    // The first stop that is complete, reading from the left, ends the text.
    size_t best_end = std::string::npos, cut = text.size();
    for (const std::string& stop : stops) {
      const size_t begin = text.find(stop);
      if (begin != std::string::npos && begin < cut) cut = begin, best_end = begin + stop.size();
    }
    CHECK(matcher.matched() == (best_end != std::string::npos));
    if (stops.size() <= 1) CHECK(shown == text.substr(0, cut));
    CHECK(shown.size() >= cut);
    if (matcher.matched()) {
      const auto continues = [&](const std::string& stop) {
        return text.compare(shown.size(), stop.size(), stop) == 0;
      };
      CHECK(std::any_of(stops.begin(), stops.end(), continues));
    }
  }
}

}  // namespace
}  // namespace lm
