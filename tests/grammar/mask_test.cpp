// Which tokens a grammar allows, against trying every token byte by byte.
#include <cmath>
#include <limits>

#include "engine/sample/grammar_filter.h"
#include "tests/grammar/grammar_support.h"

namespace lm::test {
namespace {

constexpr std::string_view kJson = R"g(root ::= value
value ::= object | array | string | [0-9]+ | "true"
object ::= "{" ws (string ":" ws value ("," ws string ":" ws value)*)? ws "}"
array ::= "[" ws (value ("," ws value)*)? ws "]"
string ::= "\"" ([^"\\\x00-\x1f] | "\\" ["\\n])* "\""
ws ::= " "?
)g";

std::vector<std::string> json_words() {
  return {"\":",      "\": ",        "\", \"", "\"}",  "{\"", "[[",    "]]",
          "]}",       "}}",          "},",     "true", "tru", "e}",    "12",
          "3,",       "4]",          "\\n",    "\\\"", "abc", "ab\"",  "\xC3\xA9",
          "\xE4\xB8", "\xA9\"",      " \"",    " {",   "  ",  "\"]]}", "x\":1,\"y\":2}",
          "a\"",      "\"a\":[[1]]}"};
}

// A walk of random allowed tokens; at every step all tokens are tried.
void check_walk(const std::shared_ptr<const grammar::TokenGrammar>& compiled, uint64_t seed,
                int steps) {
  const grammar::Vocabulary& vocabulary = compiled->vocabulary();
  Follower follower(compiled->automaton());
  grammar::Matcher matcher(compiled, true);
  Random random(seed);
  std::string text;
  for (int step = 0; step < steps; ++step) {
    const grammar::TokenSet& allowed = matcher.allowed();
    std::vector<TokenId> possible;
    for (TokenId id = 0; id < TokenId(vocabulary.size()); ++id) {
      const std::string_view piece =
          text.empty() ? vocabulary.first_piece(id) : vocabulary.piece(id);
      const bool expected = vocabulary.is_end(id)
                                ? follower.matches(text)
                                : !piece.empty() && follower.begins(text + std::string(piece));
      INFO(text, " + ", piece);
      CHECK(allowed.contains(id) == expected);
      if (expected) possible.push_back(id);
    }
    REQUIRE_FALSE(possible.empty());
    const TokenId token = possible[random.below(possible.size())];
    text += text.empty() ? vocabulary.first_piece(token) : vocabulary.piece(token);
    matcher.accept(token);
    CHECK_FALSE(matcher.failed());
    if (vocabulary.is_end(token)) break;
  }
}

TEST_CASE("mask: as trying every token") {
  const auto compiled = over(compile(kJson), byte_vocabulary(json_words()));
  for (uint64_t seed = 1; seed <= 8; ++seed) check_walk(compiled, seed, 40);
  const auto spaced = over(compile("root ::= \"ab\" \" \" [a-z]*"),
                           byte_vocabulary({" a", " ab", "ab ", " "}, true));
  for (uint64_t seed = 1; seed <= 4; ++seed) check_walk(spaced, seed, 10);
  const auto ambiguous = over(compile("root ::= x \"b\"* | \"a\"* y\nx ::= \"a\" x \"c\" | \"\"\n"
                                      "y ::= \"c\"* \"b\"?"),
                              byte_vocabulary({"aa", "ac", "acc", "bb", "cb"}));
  for (uint64_t seed = 1; seed <= 8; ++seed) check_walk(ambiguous, seed, 20);
}

TEST_CASE("mask: counted characters and tokens longer than what states share") {
  const std::string a25(25, 'a');
  const std::vector<std::string> words = {
      a25,          a25 + a25,         a25 + "\"",           a25 + "\",\"", a25 + "\",\"" + a25,
      "aaaaaaaa",   "\"" + a25 + "\"", std::string(24, ' '), "a\"",         "\",",
      "aaa\xC3\xA9"};
  const auto compiled = over(compile("root ::= \"[\" item (\",\" item){0,3} \"]\" \" \"{0,60}\n"
                                     "item ::= \"\\\"\" [^\"]{3,70} \"\\\"\""),
                             byte_vocabulary(words));
  for (uint64_t seed = 1; seed <= 6; ++seed) check_walk(compiled, seed, 60);
}

TEST_CASE("mask: after the end only the end, and a wrong token forbids all") {
  const auto compiled = over(compile("root ::= \"ab\""), byte_vocabulary({"ab"}));
  const auto end = TokenId(compiled->vocabulary().size() - 1);
  grammar::Matcher matcher(compiled);
  CHECK(matcher.allowed().few == std::vector<TokenId>{'a', 256});
  CHECK_FALSE(matcher.may_end());
  grammar::Matcher copy = matcher;
  matcher.accept(256);
  CHECK(matcher.may_end());
  CHECK(matcher.allowed().few == std::vector<TokenId>{end});
  matcher.accept(end);
  CHECK(matcher.allowed().few == std::vector<TokenId>{end});
  CHECK(copy.allowed().few == std::vector<TokenId>{'a', 256});  // went its own way
  copy.accept('b');
  CHECK(copy.failed());
  CHECK(copy.allowed().few.empty());
  grammar::Matcher early(compiled);
  early.accept(end);
  CHECK(early.failed());
}

TEST_CASE("filter: forbidden logits become -inf, the others stay, padding is forbidden") {
  const auto compiled = over(compile("root ::= [a-z]+"), byte_vocabulary({}));
  GrammarFilter filter{grammar::Matcher(compiled)};
  std::vector<float> logits(300, 1.5f);
  filter.apply(logits);
  for (size_t i = 0; i < logits.size(); ++i) {
    const bool allowed = i >= 'a' && i <= 'z';
    CHECK(logits[i] == (allowed ? 1.5f : -std::numeric_limits<float>::infinity()));
  }
  const std::unique_ptr<TokenFilter> copy = filter.clone();
  copy->accept('q');
  std::vector<float> few(100, 1.0f);  // fewer logits than tokens
  copy->apply(few);
  CHECK(few[97] == 1.0f);
  CHECK(std::isinf(few[96]));
  filter.apply(logits);
  CHECK(logits['b'] == 1.5f);
}

TEST_CASE("vocabulary without bytes: only what it can spell; an impossible grammar is refused") {
  const auto vocabulary = std::make_shared<grammar::Vocabulary>(
      std::vector<std::string>{"a", "b", "ab", "é", "{x", "\xC3", ""}, std::vector<TokenId>{6},
      false);
  const grammar::CharSet& spellable = vocabulary->trie().spellable();
  CHECK(spellable.contains(U'é'));
  CHECK_FALSE(spellable.contains(U'{'));
  const grammar::Grammar rules =
      require_ok(grammar::parse_gbnf("root ::= \"{x\" | [a-zé]{3} | \"abc\""));
  const auto compiled = over(require_ok(grammar::Automaton::compile(rules, spellable)), vocabulary);
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    grammar::Matcher matcher(compiled);
    Random random(seed);
    for (int step = 0; step < 6 && !matcher.may_end(); ++step) {
      std::vector<TokenId> allowed;
      for (TokenId id = 0; id < 7; ++id) {
        if (matcher.allowed().contains(id)) allowed.push_back(id);
      }
      REQUIRE_FALSE(allowed.empty());
      CHECK(allowed.back() <= 3);
      matcher.accept(allowed[random.below(allowed.size())]);
    }
    CHECK(matcher.may_end());
  }
  const auto refused = grammar::Automaton::compile(
      require_ok(grammar::parse_gbnf("root ::= \"{x\" | \"c\"")), spellable);
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().message.find("vocabulary can spell") != std::string::npos);
  const auto endless = std::make_shared<grammar::Vocabulary>(std::vector<std::string>{"a"},
                                                             std::vector<TokenId>{}, false);
  CHECK_FALSE(grammar::TokenGrammar::create(compile("root ::= \"a\""), endless).ok());
}

}  // namespace
}  // namespace lm::test
