// engine/grammar/number_range.h — the numbers between two bounds as an automaton over their digits:
// exact, by comparing digit strings, whatever their length.
#pragma once
#include <optional>
#include <string>
#include <string_view>

#include "engine/core/result.h"
#include "engine/grammar/automata.h"

namespace lm::grammar {

struct Decimal {
  bool negative = false;
  std::string digits;  // without leading zeros; empty: 0
  int scale = 0;       // the value is digits · 10^-scale

  // A number as JSON writes it. nullopt when it is none, or further from 0 than 1e±60.
  static std::optional<Decimal> parse(std::string_view json);
};

struct Bound {
  Decimal value;
  bool exclusive = false;
};

struct NumberRange {
  bool integer = false;
  std::optional<Bound> least, most;
  int multiple_of = 1;  // of integers
};

constexpr int kMaxMultiple = 2000;

// Digits without exponent; at most 15 before the point where no bound wants more, and after it 6 or
// as many as the bounds have. Distinct ones are distinct as doubles too.
Result<Dfa> number_dfa(const NumberRange& range, Work& work);

}  // namespace lm::grammar
