#include "engine/text/pretokenizer.h"

#include <set>

#include "engine/text/pretokenizer_table.h"
#include "tests/text/text_support.h"

using namespace lm;

namespace {

std::string words(std::string_view pre, std::string_view text) {
  const Pretokenizer pretokenizer = test::require_ok(Pretokenizer::create(pre));
  std::vector<std::string_view> parts;
  pretokenizer.split(text, parts);
  std::string out;
  for (const std::string_view part : parts) (out += out.empty() ? "" : "|") += part;
  return out;
}

}  // namespace

TEST_CASE("pretokenizer: every name cuts text into words that make the text") {
  test::Random random(11);
  std::set<std::string_view> names;
  for (const PretokenizerRow& row : pretokenizer_rows()) {
    CAPTURE(row.name);
    CHECK(names.insert(row.name).second);
    const Pretokenizer pretokenizer = test::require_ok(Pretokenizer::create(row.name));
    for (int i = 0; i < 20; ++i) {
      const std::string text = test::random_text(random, random.below(80)) +
                               test::random_bytes(random, random.below(20)) +
                               test::random_text(random, random.below(20));
      std::vector<std::string_view> parts;
      pretokenizer.split(text, parts);
      std::string joined;
      for (const std::string_view part : parts) {
        REQUIRE_FALSE(part.empty());
        joined += part;
      }
      REQUIRE(joined == text);
    }
  }
}

TEST_CASE("pretokenizer: the names cut as their models do") {
  const std::string text = "I'LL pay  $12345, né?\n\n ok";
  CHECK(words("gpt-2", text) == "I|'|LL| pay| | $|12345|,| né|?|\n\n| ok");
  CHECK(words("llama-bpe", text) == "I|'LL| pay| | $|123|45|,| né|?\n\n| ok");
  CHECK(words("qwen2", text) == "I|'LL| pay| | $|1|2|3|4|5|,| né|?\n\n| ok");
  CHECK(words("gpt-4o", text) == "I'LL| pay| | $|123|45|,| né|?\n\n| ok");
  CHECK(words("tekken", text) == "I|'LL| pay| | $|1|2|3|4|5|,| né|?\n\n| ok");
  CHECK(words("starcoder", text) == "I|'|LL| pay| | $|1|2|3|4|5|,| né|?|\n\n| ok");
  CHECK(words("falcon", text) == "I|'|LL| pay|  |$|123|45|,| né|?|\n\n| ok");
  CHECK(words("deepseek-v3", text) == "I|'LL| pay| | $|123|45|,| né|?\n\n| ok");
  // Its second stage keeps "né" together; its third, which means punctuation, has ":-~" in it.
  CHECK(words("deepseek-llm", text) == "I|'|LL| pay| | $|12345|,| n|é|?|\n|\n| ok");

  CHECK(words("gpt-4o", "HTMLParser camelCase") == "HTMLParser| camel|Case");
  CHECK(words("llama-bpe", "HTMLParser camelCase") == "HTMLParser| camelCase");
  CHECK(words("qwen2", "e\u0301a") == "e|\u0301a");  // a mark is no letter
  CHECK(words("qwen35", "e\u0301a") == "e\u0301a");  // here it is
  CHECK(words("deepseek-v3", "我想ab東京タワー") == "我想|ab|東京タワー");
  CHECK(words("bloom", "end. (go)") == "end|. (|go|)");
}

TEST_CASE("pretokenizer: white space is Unicode's") {
  CHECK(words("llama-bpe", "a\u3000\u3000b") == "a|\u3000|\u3000b");
  CHECK(words("gpt-2", "a\u0085b") == "a|\u0085|b");
  CHECK(words("gpt-2", "\u180E!") == "\u180E!");  // no white space since Unicode 6.3
}

TEST_CASE("pretokenizer: invalid UTF-8 is a word of its own, and the rest is cut as ever") {
  CHECK(words("llama-bpe", "one two\xFF\xC3three four") == "one| two|\xFF\xC3|three| four");
  CHECK(words("llama-bpe", "\xED\xA0\x80x") == "\xED\xA0\x80|x");
  CHECK(words("llama-bpe", "x\xF0\x9F\x98") == "x|\xF0\x9F\x98");
}

TEST_CASE("pretokenizer: long runs take no more than linear time") {
  const std::string spaces(300'000, ' ');
  for (const PretokenizerRow& row : pretokenizer_rows()) {
    CAPTURE(row.name);
    for (const std::string unit : {" ", "A", "a", "1", "!", "\u0301", "漢", "'", "\x01"}) {
      std::string text;
      while (text.size() < 100'000) text += unit;
      CHECK(words(row.name, text + "漢").size() >= text.size());
    }
    CHECK(words(row.name, spaces + "漢" + spaces + "\n" + spaces + "x").size() > 900'000);
  }
}

TEST_CASE("pretokenizer: an unknown name is an error that says which are known") {
  const auto result = Pretokenizer::create("gpt-5\x1b[31m");
  REQUIRE_FALSE(result.ok());
  CHECK(result.error().code == ErrorCode::unsupported);
  CHECK(result.error().message.find("\"gpt-5?[31m\"") != std::string::npos);
  CHECK(result.error().message.find("llama-bpe, ") != std::string::npos);
}
