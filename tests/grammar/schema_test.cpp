// JSON schemas: whatever their grammar writes satisfies them; what they say is possible can be
// written; mistakes and what cannot be enforced are one line.
#include "engine/grammar/json_schema.h"
#include "tests/grammar/grammar_support.h"
#include "tests/grammar/schemas.h"
#include "tests/grammar/validator.h"

namespace lm::test {
namespace {

grammar::Automaton compile_schema(std::string_view schema) {
  return require_ok(grammar::Automaton::compile(require_ok(grammar::parse_json_schema(schema))));
}

std::string schema_error(std::string_view schema) {
  const Result<grammar::Grammar> parsed = grammar::parse_json_schema(schema);
  if (!parsed.ok()) return parsed.error().message;
  const Result<grammar::Automaton> compiled = grammar::Automaton::compile(parsed.value());
  return compiled.ok() ? "" : compiled.error().message;
}

// A random text, preferring what leads to an end.
std::optional<std::string> random_text(const grammar::Automaton& automaton, Random& random) {
  grammar::ConfigTable table(automaton);
  grammar::ConfigId config = table.enter({automaton.start(), grammar::ConfigTable::kBottom});
  std::string text;
  for (int step = 0; step < 3000; ++step) {
    std::vector<uint8_t> bytes;
    for (int byte = 0; byte < 256; ++byte) {
      if (table.step(config, uint8_t(byte)) != grammar::ConfigTable::kDead) {
        bytes.push_back(uint8_t(byte));
      }
    }
    if (table.ends(config) && (bytes.empty() || random.below(4) == 0)) return text;
    REQUIRE_FALSE(bytes.empty());
    uint8_t byte = bytes[random.below(bytes.size())];
    constexpr std::string_view kClosing = "\"]}0123";
    for (const char c : kClosing) {
      const bool possible = std::find(bytes.begin(), bytes.end(), uint8_t(c)) != bytes.end();
      if (possible && random.below(6) == 0) byte = uint8_t(c);
    }
    text.push_back(char(byte));
    config = table.step(config, byte);
  }
  return std::nullopt;
}

TEST_CASE("schema: every text parses and validates") {
  static_assert(std::size(kSchemas) >= 60);
  Random random(1);
  size_t finished = 0, texts = 0;
  for (const std::string_view source : kSchemas) {
    INFO(source);
    const Json schema = require_ok(parse_json(source));
    const Validator validator(schema);
    const grammar::Automaton automaton = compile_schema(source);
    for (int i = 0; i < 40; ++i, ++texts) {
      const std::optional<std::string> text = random_text(automaton, random);
      if (!text) continue;
      ++finished;
      INFO(*text);
      const Json value = require_ok(parse_json(*text));
      CHECK(validator.valid(value));
    }
  }
  CHECK(finished * 10 > texts * 9);
}

TEST_CASE("schema: what is possible can be written, what is not cannot") {
  const auto check = [](std::string_view schema, std::vector<std::string> good,
                        std::vector<std::string> bad) {
    INFO(schema);
    const grammar::Automaton automaton = compile_schema(schema);
    Follower follower(automaton);
    for (const std::string& text : good) {
      INFO(text);
      CHECK(follower.matches(text));
    }
    for (const std::string& text : bad) {
      INFO(text);
      CHECK_FALSE(follower.matches(text));
    }
  };
  check(
      R"({"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"string"}},"required":["a"]})",
      {R"({"a":1})", R"({"a": -12, "b": "x"})", "{\n  \"a\": 0,\n  \"b\": \"\\u00e9é\"\n}"},
      {"{}", R"({"b":"x","a":1})", R"({"a":1,})", R"({"a":01})", R"({"a":1,"c":2})",
       "{\"a\":1,\"b\":\"\n\"}"});
  check(R"({"type":"string"})",
        {R"("")", R"("\"\\\/\b\f\n\r\t")", R"("\uD83D\ude00")", "\"\xF0\x9F\x98\x80\"",
         R"("\uffff")"},
        {R"("\x")", R"("\ud800")", R"("\udc00")", "\"\x01\"", "\"\xFF\"", R"("a)"});
  check(R"({"type":"number"})", {"0", "-0.5", "1e5", "12.25E-7", "999999999999999"},
        {"00", ".5", "1.", "+1", "1e", "NaN"});
  check(R"({"type":"number","minimum":0.1,"exclusiveMaximum":20})",
        {"0.1", "0.10", "0.100001", "1", "1.0", "19.999999"},
        {"0", "0.0", "0.09", "20", "20.0", "-1", "1.1234567"});
  check(R"({"type":"integer","minimum":-3,"maximum":12})", {"-3", "-1", "0", "7", "10", "12"},
        {"-4", "-0", "13", "20", "120", "07", "1.0"});
  check(R"({"type":"string","pattern":"b$"})", {R"("b")", R"("ab")"}, {R"("ba")", R"("")"});
  check(R"({"type":"string","pattern":"^a|b$"})", {R"("ax")", R"("xb")"}, {R"("xa")", R"("bx")"});
  check(R"({"type":"string","pattern":"^(\"|\\\\)$"})", {R"("\"")", R"("\\")"},
        {R"(""")", R"("x")"});
  check(R"({"type":"string","minLength":2,"maxLength":2})", {R"("éé")", R"("\"a")"}, {R"("é")"});
  check(R"({"additionalProperties":{"type":"null"},"properties":{"ab":{"const":1}}})",
        {"{}", R"({"ab":1})", R"({"ab":1,"a":null})", R"({"abc":null})", R"({"x":null,"y":null})"},
        {R"({"ab":null})", R"({"x":null,"ab":1})", R"({"x":1})"});
  check(
      R"({"type":"array","prefixItems":[{"const":1},{"const":2}],"minItems":1,"items":{"const":3},"maxItems":3})",
      {"[1]", "[1,2]", "[1, 2, 3]"}, {"[]", "[2]", "[1,3]", "[1,2,3,3]"});
  check(R"({"$ref":"#/$defs/l","$defs":{"l":{"type":"array","items":{"$ref":"#/$defs/l"}}}})",
        {"[]", "[[],[[]]]"}, {"[1]", "[[]"});
  check("true", {"null", R"([{"a":[1,"b",true]}])"}, {"", "nul"});
}

TEST_CASE("schema: formats are dates that exist") {
  Follower follower(compile_schema(R"({"type":"string","format":"date"})"));
  for (const char* good : {"2024-02-29", "1999-12-31", "2023-04-30"}) {
    CHECK(follower.matches("\"" + std::string(good) + "\""));
  }
  for (const char* bad : {"2023-02-29", "2024-13-01", "2024-04-31", "1900-02-29", "24-01-01"}) {
    CHECK_FALSE(follower.matches("\"" + std::string(bad) + "\""));
  }
}

TEST_CASE("schema: mistakes, the impossible and the unknown are one line") {
  const auto says = [](std::string_view schema, std::string_view what) {
    const std::string message = schema_error(schema);
    INFO(schema, " -> ", message);
    CHECK(message.find(what) != std::string::npos);
    CHECK(message.find('\n') == std::string::npos);
  };
  says("{", "expected JSON");
  says("3", "expected a schema");
  says(R"({"type":"text"})", "the name of a type");
  says(R"({"properties":{"a":{"minLength":-1}}})", "minLength, at #/properties/a");
  says(R"({"properties":{"a/b":{"not":{}}}})", "found \"not\", at #/properties/a~1b");
  says(R"({"patternProperties":{"^a":{}}})", "patternProperties");
  says(R"({"uniqueItems":true,"type":"array"})", "uniqueItems");
  says(R"({"if":{},"then":{}})", "found \"if\"");
  says(R"({"$ref":"other.json"})", "reference to a schema in this document");
  says(R"({"$ref":"#/$defs/missing"})", "#/$defs/missing");
  says(R"({"items":[{}]})", "items");
  says(R"({"format":"duration"})", "found \"duration\"");
  says(R"({"pattern":"(?=a)x"})", "look-around");
  says(R"({"pattern":"(a)\\1"})", "back-reference");
  says(R"({"pattern":"a**"})", "repetition");
  says(R"({"pattern":"("})", "expected )");
  says(R"({"multipleOf":0.01})", "multipleOf");
  says(R"({"minimum":"1"})", "a number as minimum");
  says(R"({"enum":[]})", "not empty");
  says("false", "some text satisfies");
  says(R"({"type":"integer","minimum":5,"maximum":4})", "some text satisfies");
  says(R"({"type":"integer","exclusiveMinimum":5,"exclusiveMaximum":6})", "some text satisfies");
  says(R"({"allOf":[{"type":"string"},{"type":"integer"}]})", "some text satisfies");
  says(R"({"type":"string","pattern":"^a$","minLength":2})", "some text satisfies");
  says(R"({"type":"object","properties":{"a":{"$ref":"#"}},"required":["a"]})",
       "some text satisfies");
  says(R"({"type":"object","required":["a"],"additionalProperties":false})", "some text satisfies");
  says(R"({"type":"array","minItems":2,"maxItems":1})", "some text satisfies");
  says(R"({"oneOf":[{"type":"integer"},{"type":"number"}]})", "found 0 and 1 that may overlap");
  says(
      R"({"oneOf":[{"type":"object","properties":{"a":{}}},{"type":"object","properties":{"b":{}}}]})",
      "may overlap");
  says(R"({"type":"string","pattern":"^(a|b)*a(a|b){40}$"})", "beyond the limit");
  says(R"({"type":"string","maxLength":99999})", "beyond the limit");
  says(
      R"({"type":"array","items":{"type":"string","maxLength":3000},"minItems":1,"maxItems":99999})",
      "limit");
  says(std::string(200, '[') + std::string(200, ']'), "nested at most");
}

TEST_CASE("schema: endless references end") {
  CHECK(Follower(compile_schema(R"({"$ref":"#"})")).matches("null"));
  CHECK(
      Follower(
          compile_schema(
              R"({"allOf":[{"$ref":"#/$defs/a"}],"$defs":{"a":{"allOf":[{"$ref":"#"}],"type":"null"}}})"))
          .matches("null"));
  // A member that leads back without a value in between has no meaning of its own.
  for (
      const char* circle :
      {R"({"anyOf":[{"$ref":"#"},{"type":"null"}]})",
       R"({"anyOf":[{"$ref":"#/$defs/a"},{"type":"null"}],"$defs":{"a":{"anyOf":[{"$ref":"#/$defs/a"},{"const":1}]}}})"}) {
    const std::string error = schema_error(circle);
    INFO(error);
    CHECK(error.find("left-recursive") != std::string::npos);
  }
  const grammar::Automaton twice = compile_schema(
      R"({"$ref":"#/$defs/a","$defs":{"a":{"anyOf":[{"$ref":"#/$defs/b"},{"const":"x"}]},"b":{"anyOf":[{"const":1},{"type":"array","items":{"$ref":"#/$defs/a"}}]}}})");
  Follower follower(twice);
  for (const char* good : {"1", "\"x\"", "[1, [\"x\"]]", "[]"}) CHECK(follower.matches(good));
  for (const char* bad : {"2", "[2]", "x", "null"}) CHECK_FALSE(follower.matches(bad));
}

}  // namespace
}  // namespace lm::test
