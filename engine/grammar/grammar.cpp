#include "engine/grammar/grammar.h"

#include <utility>

#include "engine/core/check.h"
#include "engine/core/text.h"
#include "engine/grammar/limits.h"

namespace lm::grammar {

Grammar::Grammar() {
  add({});         // kNothing
  (void)text({});  // kEmpty
}

ExprId Grammar::add(Expr e) {
  exprs_.push_back(e);
  return ExprId(exprs_.size() - 1);
}

ExprId Grammar::add_list(Expr::Kind kind, std::span<const ExprId> parts) {
  Expr e;
  e.kind = kind;
  e.begin = uint32_t(children_.size());
  children_.insert(children_.end(), parts.begin(), parts.end());
  e.end = uint32_t(children_.size());
  return add(e);
}

ExprId Grammar::text(std::string_view utf8) {
  Expr e;
  e.kind = Expr::Kind::text;
  e.index = uint32_t(texts_.size());
  payload_ += utf8.size();
  texts_.emplace_back(utf8);
  return add(e);
}

ExprId Grammar::chars(CharSet set) {
  Expr e;
  e.kind = Expr::Kind::chars;
  e.index = uint32_t(char_sets_.size());
  payload_ += set.ranges().size();
  char_sets_.push_back(std::move(set));
  return add(e);
}

ExprId Grammar::sequence(std::span<const ExprId> parts) {
  if (parts.size() == 1) return parts[0];
  return add_list(Expr::Kind::sequence, parts);
}

ExprId Grammar::choice(std::span<const ExprId> parts) {
  if (parts.empty()) return kNothing;
  if (parts.size() == 1) return parts[0];
  return add_list(Expr::Kind::choice, parts);
}

ExprId Grammar::repeat(ExprId part, uint32_t least, uint32_t most) {
  if (least == 1 && most == 1) return part;
  const ExprId id = add_list(Expr::Kind::repeat, {&part, 1});
  exprs_[id].least = least;
  exprs_[id].most = most;
  return id;
}

ExprId Grammar::add_dfa(Expr::Kind kind, Dfa dfa) {
  Expr e;
  e.kind = kind;
  e.index = uint32_t(dfas_.size());
  payload_ += dfa.states.size();
  dfas_.push_back(std::move(dfa));
  return add(e);
}

ExprId Grammar::regular(Dfa dfa) {
  return add_dfa(Expr::Kind::regular, std::move(dfa));
}

ExprId Grammar::json_string(Dfa dfa) {
  return add_dfa(Expr::Kind::json_string, std::move(dfa));
}

RuleId Grammar::add_rule(std::string name) {
  rules_.push_back({std::move(name)});
  return RuleId(rules_.size() - 1);
}

void Grammar::define(RuleId rule, ExprId body) {
  LM_CHECK(!rules_[rule].defined);
  rules_[rule].body = body;
  rules_[rule].defined = true;
}

ExprId Grammar::rule(RuleId rule) {
  Expr e;
  e.kind = Expr::Kind::rule;
  e.index = rule;
  return add(e);
}

// Calls of the first rule, which a recursive one has, mean what it was.
void Grammar::begin_with(ExprId before) {
  const RuleId rest = add_rule(rules_[0].name + " after its beginning");
  for (Expr& e : exprs_) {
    if (e.kind == Expr::Kind::rule && e.index == 0) e.index = rest;
  }
  define(rest, rules_[0].body);
  rules_[0].body = sequence({before, rule(rest)});
}

Status Grammar::check_size() const {
  if (exprs_.size() <= kMaxNodes && children_.size() <= 4 * kMaxNodes &&
      payload_ <= 8 * kMaxNodes && rules_.size() <= kMaxRules) {
    return ok();
  }
  return Error{ErrorCode::unsupported,
               concat("expected a grammar of at most ", kMaxRules, " rules and ", kMaxNodes,
                      " expressions, found a larger one")};
}

}  // namespace lm::grammar
