// GBNF: what it accepts, against the plain meaning of its rules, and its mistakes.
#include "engine/grammar/gbnf.h"

#include "tests/grammar/grammar_support.h"
#include "tests/grammar/naive.h"

namespace lm::test {
namespace {

constexpr std::string_view kGrammars[] = {
    R"g(root ::= "a" "b"* | "c"+ "d"?)g",
    R"g(root ::= [a-c]{2,4} ("x" | "yz"){1,} "!"{0,2})g",
    R"g(root ::= ("a" | "ab") ("c" | "bcd") ("d" | "" ))g",
    R"g(root ::= (("a"?)* "b"?)* "c")g",
    R"g(root ::= "(" root ")" | "x" | root2
root2 ::= "[" root "," root "]")g",
    R"g(root ::= expr ("=" expr)*   # sums
expr ::= term ([-+*/] term)*
term ::= [0-9]+ | "(" expr ")"
)g",
    R"g(root ::= [^a-y\n]* "\x41\u00e9\U0001F600" .)g",
    R"g(root ::= "é" [à-ü]{2} | [一-龥]+ | "\t\r\n\\\"")g",
    R"g(
root ::= object
value ::= object | array | string | num | ("true" | "false" | "null") ws
object ::=
  "{" ws (
            string ":" ws value
    ("," ws string ":" ws value)*
  )? "}" ws
array ::= "[" ws ( value ("," ws value)* )? "]" ws
string ::= "\"" ( [^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) )* "\"" ws
num ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws
ws ::= | " " | "\n" [ \t]{0,20}
)g",
    R"g(root ::= a
a ::= "x" b |
b ::= "y" a | c c
c ::= "z"?)g",
    R"g(root ::= list
list ::= "i" "," list | "i")g",
    R"g(root ::= "a"
  | "b"

  | "c" root)g",
    R"g(root ::= even
even ::= "a" odd | "b" even |
odd ::= "a" even | "b" odd)g",
    R"g(root ::= ("a" x "b")* x
x ::= ("a" x)? "c"?)g",
};

// Close to a text of the grammar, so that both answers come often.
std::string mutated(std::string text, Random& random) {
  for (uint64_t n = random.below(3); n > 0 && !text.empty(); --n) {
    const size_t at = random.below(text.size());
    switch (random.below(3)) {
      case 0:
        text.erase(at, 1 + random.below(2));
        break;
      case 1:
        text.insert(at, 1, text[random.below(text.size())]);
        break;
      default:
        text[at] = text[random.below(text.size())];
    }
  }
  return text;
}

TEST_CASE("gbnf: the automaton accepts what the rules mean") {
  size_t accepted = 0, rejected = 0;
  for (const std::string_view source : kGrammars) {
    INFO(source);
    const grammar::Grammar rules = require_ok(grammar::parse_gbnf(source));
    const grammar::Automaton automaton = require_ok(grammar::Automaton::compile(rules));
    Follower follower(automaton);
    RandomText texts(rules, 1);
    Random random(2);
    for (int i = 0; i < 300; ++i) {
      const std::string text = mutated(texts.next(), random);
      if (text.size() > 80) continue;
      const bool expected = NaiveMatcher(rules, text).matches();
      INFO(text);
      CHECK(follower.matches(text) == expected);
      ++(expected ? accepted : rejected);
    }
  }
  CHECK(accepted > 500);
  CHECK(rejected > 500);
}

TEST_CASE("gbnf: every beginning of a text can begin a text, and no other byte can follow") {
  for (const std::string_view source : kGrammars) {
    INFO(source);
    const grammar::Grammar rules = require_ok(grammar::parse_gbnf(source));
    const grammar::Automaton automaton = require_ok(grammar::Automaton::compile(rules));
    Follower follower(automaton);
    RandomText texts(rules, 3);
    for (int i = 0; i < 40; ++i) {
      const std::string text = texts.next();
      for (size_t n = 0; n <= text.size(); ++n) CHECK(follower.begins(text.substr(0, n)));
      if (!text.empty()) CHECK(follower.matches(text));
    }
    CHECK_FALSE(follower.begins("\xFF"));
  }
}

TEST_CASE("automata: up to a mark") {
  const std::u32string alphabet = U"abx";
  Random random(5);
  for (const std::u32string mark : {U"a", U"ab", U"aa", U"aba", U"aabaa", U"abxab"}) {
    const grammar::Dfa dfa = grammar::up_to(mark, 0x10FFFF);
    CHECK(grammar::accepts(dfa, mark));
    for (int i = 0; i < 400; ++i) {
      std::u32string text;
      for (uint64_t n = random.below(12); n > 0; --n) text += alphabet[random.below(3)];
      const size_t found = text.find(mark);
      CHECK(grammar::accepts(dfa, text) ==
            (found != std::u32string::npos && found + mark.size() == text.size()));
    }
  }
}

TEST_CASE("gbnf: a grammar that begins with something else still calls itself") {
  grammar::Grammar rules = require_ok(grammar::parse_gbnf("root ::= \"(\" root? \")\""));
  rules.begin_with(rules.text("> "));
  Follower follower(require_ok(grammar::Automaton::compile(rules)));
  CHECK(follower.matches("> (())"));
  CHECK_FALSE(follower.matches("(())"));
  CHECK_FALSE(follower.matches("> (> ())"));
}

TEST_CASE("gbnf: mistakes are one line that says where") {
  const auto says = [](std::string_view source, std::string_view what) {
    const std::string message = error_of(source);
    INFO(source, " -> ", message);
    CHECK(message.find(what) != std::string::npos);
    CHECK(message.find('\n') == std::string::npos);
  };
  says("", "\"root\", found none");
  says("rot ::= \"a\"", "\"root\", found none");
  says("root := \"a\"", "::= after the name of a rule, found \":\" at line 1, column 6");
  says("root ::= \"a", "end of \"text\"");
  says("root ::= \"a\nb\"", "line 1, column 12");
  says("root ::= [a-", "end of a [class]");
  says("root ::= [z-a]", "lower to a higher");
  says("root ::= (\"a\"", ") after a group, found the end");
  says("root ::= \"a\")", "line 1, column 13");
  says("root ::= other", "definition of the rule \"other\", found none; it is used at line 1");
  says("root ::= \"a\"\nroot ::= \"b\"", "one rule \"root\"");
  says("root ::= \"a\"{3,2}", "m not above n");
  says("root ::= \"a\"{,2}", "a count");
  says("root ::= \"a\"{999999999999}", "at most 100000");
  says("root ::= *", "found \"*\"");
  says("root ::= \"\\q\"", "after \\");
  says("root ::= \"\\xG0\"", "2 hexadecimal digits");
  says("root ::= \"\\uD800\"", "Unicode character");
  says("root ::= \"\xFF\"", "UTF-8");
  says("root ::= " + std::string(100, '(') + "\"a\"" + std::string(100, ')'), "64 deep");
  says("root ::= root \"a\" | \"b\"", "left-recursive rule \"root\"");
  says("root ::= a\na ::= b? root \"x\" | \"y\"\nb ::= \"z\"", "left-recursive");
  says("root ::= \"a\" root", "some text satisfies");
  says("root ::= a b\na ::= \"x\" a | \"y\" b\nb ::= [] | a b", "some text satisfies");
  says("root ::= ((.{1000}){1000}){1000}", "beyond the limit");
  says("root ::= (\"a\" | \"b\")* \"a\" [ab]{40}", "beyond the limit");
  says("root ::= \"a\"" + std::string(100, '*'), "fewer repetitions");
}

TEST_CASE("gbnf: nothing is endless") {
  // Circles that take nothing, and readings that multiply, still end.
  CHECK(Follower(compile("root ::= ((\"\")*)* \"a\"")).matches("a"));
  CHECK(Follower(compile("root ::= x* \"a\"\nx ::= y?\ny ::= \"b\"?")).matches("bba"));
  const grammar::Automaton ambiguous = compile("root ::= \"a\" root root | \"\"");
  Follower follower(ambiguous);
  CHECK(follower.begins(std::string(40, 'a')));
}

}  // namespace
}  // namespace lm::test
