// Cells of a terminal: wide, narrow, combined.
#include "engine/chat/width.h"

#include "tests/support/support.h"

namespace lm::chat {
namespace {

TEST_CASE("width: letters, wide ones, marks and emoji") {
  CHECK(text_width("") == 0);
  CHECK(text_width("abc") == 3);
  CHECK(text_width("äöü") == 3);
  CHECK(text_width("e\xCC\x81") == 1);  // e and a combining acute
  CHECK(text_width("漢字かなカナ") == 12);
  CHECK(text_width("한국어") == 6);
  CHECK(text_width("ｆｕｌｌ") == 8);
  CHECK(text_width("😀") == 2);
  CHECK(text_width("👨‍👩‍👧") == 2);  // three emoji joined
  CHECK(text_width("👍🏽") == 2);            // with a skin tone
  CHECK(text_width("🇩🇪🇯🇵") == 4);                // two flags
  CHECK(text_width("❤️") == 2);              // shown as an emoji because of U+FE0F
  CHECK(text_width("नमस्ते") >= 3);
}

TEST_CASE("width: fitting never tears what belongs together") {
  CHECK(fitted("abc", 3) == "abc");
  CHECK(fitted("abcd", 3) == "ab…");
  CHECK(fitted("漢字漢", 5) == "漢字…");
  CHECK(fitted("漢字漢", 4) == "漢…");
  CHECK(fitted("🇩🇪🇯🇵", 3) == "🇩🇪…");
  CHECK(fitted("abc", 1) == "…");
  CHECK(fitted("abc", 0) == "");
  CHECK(fitted("abc", -5) == "");
}

TEST_CASE("width: any bytes") {
  test::Random random(9);
  for (int round = 0; round < 500; ++round) {
    std::string text(random.below(40), ' ');
    for (char& c : text) c = char(random.next());
    const int width = text_width(text);
    CHECK(width >= 0);
    CHECK(text_width(fitted(text, width / 2)) <= width / 2);
  }
}

}  // namespace
}  // namespace lm::chat
