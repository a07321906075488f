// engine/grammar/rule_nfa.h — the expression of a rule as an Nfa over bytes and calls (Thompson's
// construction). Small rules are put in place of their calls.
#pragma once
#include <vector>

#include "engine/grammar/automata.h"
#include "engine/grammar/grammar.h"

namespace lm::grammar {

// The symbol that calls rule r is kCallSymbol + r; below are bytes.
constexpr uint32_t kCallSymbol = 256;

// Which rules need no automaton of their own where they are called.
class InlineRules {
 public:
  explicit InlineRules(const Grammar& grammar);
  bool always(RuleId rule) const { return small_[rule]; }
  bool once(RuleId rule) const { return small_[rule] || single_[rule]; }

 private:
  std::vector<bool> small_, single_;  // few states; called from one place. Never recursive.
};

Nfa rule_nfa(const Grammar& grammar, RuleId rule, const InlineRules& inlined,
             const CharSet& spellable);

}  // namespace lm::grammar
