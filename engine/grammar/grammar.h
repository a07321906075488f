// engine/grammar/grammar.h — a grammar as data: rules over expressions. GBNF and JSON Schema are
// read into this, and automaton.h compiles it. An expression is a number that the grammar gave out;
// it may be used in several places.
#pragma once
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/result.h"
#include "engine/grammar/automata.h"
#include "engine/grammar/char_set.h"

namespace lm::grammar {

using ExprId = uint32_t;
using RuleId = uint32_t;

constexpr uint32_t kUnbounded = std::numeric_limits<uint32_t>::max();

struct Expr {
  enum class Kind : uint8_t {
    nothing,      // no text at all, not even the empty one
    text,         // texts[index]
    chars,        // one of char_sets[index]
    sequence,     // children
    choice,       // children
    repeat,       // children[begin], from `least` to `most` times
    rule,         // rules[index]
    regular,      // what dfas[index] accepts, over characters
    json_string,  // a JSON string literal whose value dfas[index] accepts
  };
  Kind kind = Kind::nothing;
  uint32_t index = 0;
  uint32_t begin = 0, end = 0;  // children: a range of Grammar::children
  uint32_t least = 0, most = 0;
};

class Grammar {
 public:
  Grammar();

  ExprId nothing() { return kNothing; }
  ExprId empty() { return kEmpty; }
  ExprId text(std::string_view utf8);
  ExprId chars(CharSet set);
  ExprId sequence(std::span<const ExprId> parts);
  ExprId choice(std::span<const ExprId> parts);
  ExprId sequence(std::initializer_list<ExprId> parts) { return sequence(as_span(parts)); }
  ExprId choice(std::initializer_list<ExprId> parts) { return choice(as_span(parts)); }
  ExprId repeat(ExprId part, uint32_t least, uint32_t most);
  ExprId optional(ExprId part) { return repeat(part, 0, 1); }
  ExprId regular(Dfa dfa);
  ExprId json_string(Dfa dfa);

  // A rule may be used before it is defined. The first is where every text starts.
  RuleId add_rule(std::string name);
  void define(RuleId rule, ExprId body);
  ExprId rule(RuleId rule);
  // From now on every text begins with `before`; the first rule is defined.
  void begin_with(ExprId before);

  // unsupported when it has grown past the limits.
  Status check_size() const;

  struct Rule {
    std::string name;
    ExprId body = 0;
    bool defined = false;
  };
  const std::vector<Rule>& rules() const { return rules_; }
  const Expr& expr(ExprId id) const { return exprs_[id]; }
  std::span<const ExprId> children(const Expr& e) const {
    return std::span(children_).subspan(e.begin, e.end - e.begin);
  }
  const std::string& text_of(const Expr& e) const { return texts_[e.index]; }
  const CharSet& chars_of(const Expr& e) const { return char_sets_[e.index]; }
  const Dfa& dfa_of(const Expr& e) const { return dfas_[e.index]; }

 private:
  static constexpr ExprId kNothing = 0, kEmpty = 1;
  static std::span<const ExprId> as_span(std::initializer_list<ExprId> parts) {
    return {parts.begin(), parts.size()};
  }
  ExprId add(Expr e);
  ExprId add_list(Expr::Kind kind, std::span<const ExprId> parts);
  ExprId add_dfa(Expr::Kind kind, Dfa dfa);

  std::vector<Expr> exprs_;
  std::vector<ExprId> children_;
  std::vector<std::string> texts_;
  std::vector<CharSet> char_sets_;
  std::vector<Dfa> dfas_;
  std::vector<Rule> rules_;
  size_t payload_ = 0;  // characters of texts and states of automata
};

}  // namespace lm::grammar
