#include "engine/grammar/number_range.h"

#include <algorithm>
#include <array>
#include <utility>

#include "engine/core/text.h"

namespace lm::grammar {
namespace {

constexpr int kMaxExponent = 60;
constexpr size_t kUsualDigits = 15;  // that every double can tell apart
constexpr int kUsualScale = 6;

// A whole number of units of 10^-scale.
struct Whole {
  bool negative = false;
  std::string digits;  // without leading zeros; empty: 0
};

void strip_zeros(std::string& digits) {
  digits.erase(0, std::min(digits.find_first_not_of('0'), digits.size()));
}

std::string plus_one(std::string digits) {
  for (size_t i = digits.size(); i-- > 0;) {
    if (digits[i] != '9') {
      ++digits[i];
      return digits;
    }
    digits[i] = '0';
  }
  return "1" + digits;
}

std::string minus_one(std::string digits) {  // of at least 1
  size_t i = digits.size() - 1;
  for (; digits[i] == '0'; --i) digits[i] = '9';
  --digits[i];
  strip_zeros(digits);
  return digits;
}

// The least whole number of units that is not below the bound (above it when exclusive).
Whole least_whole(const Bound& bound, int scale) {
  Whole whole{bound.value.negative, bound.value.digits};
  bool cut = false;  // to the next whole number towards 0
  if (bound.value.scale <= scale) {
    if (!whole.digits.empty()) whole.digits.append(size_t(scale - bound.value.scale), '0');
  } else {
    const auto n = std::min(size_t(bound.value.scale - scale), whole.digits.size());
    cut = whole.digits.find_first_not_of('0', whole.digits.size() - n) != std::string::npos;
    whole.digits.resize(whole.digits.size() - n);
  }
  const bool up = cut ? !whole.negative : bound.exclusive;
  if (whole.digits.empty()) whole.negative = false;
  if (!up) return whole;
  whole.digits = whole.negative ? minus_one(whole.digits) : plus_one(whole.digits);
  if (whole.digits.empty()) whole.negative = false;
  return whole;
}

Whole most_whole(Bound bound, int scale) {
  bound.value.negative = !bound.value.negative;
  Whole whole = least_whole(bound, scale);
  whole.negative = !whole.negative && !whole.digits.empty();
  return whole;
}

// Adds the numbers from `least` to `most` (none: no bound), not negative, in units of 10^-scale.
class Magnitudes {
 public:
  Magnitudes(Nfa& nfa, uint32_t from, uint32_t to, int scale)
      : nfa_(nfa), from_(from), to_(to), scale_(size_t(scale)) {}

  void add(const std::string& least, const std::optional<std::string>& most) {
    const size_t longest = most ? most->size() : std::max(kUsualDigits, least.size());
    // n: digits before the point.
    for (size_t n = 1; n == 1 || n + scale_ <= longest; ++n) {
      add_length(n, least, most);
    }
  }

 private:
  void add_length(size_t n, const std::string& least, const std::optional<std::string>& most) {
    const size_t total = n + scale_;
    if (least.size() > total) return;
    n_whole_ = n;
    least_ = std::string(total - least.size(), '0') + least;
    const bool bounded = most && most->size() <= total;
    most_ = bounded ? std::string(total - most->size(), '0') + *most : std::string(total, '9');
    if (least_ > most_) return;
    states_.assign(4 * (total + 1), 0);
    extend(0, true, true, from_);
  }

  // `state` has read i digits; least_tied: they are those of least_ so far.
  void extend(size_t i, bool least_tied, bool most_tied, uint32_t state) {
    const bool may_stop =
        i >= n_whole_ && (!least_tied || least_.find_first_not_of('0', i) == std::string::npos);
    if (may_stop) nfa_.add_jump(state, to_);
    if (i == least_.size()) return;
    uint32_t from = state;
    if (i == n_whole_) {
      from = nfa_.add_state();
      nfa_.add_edge(state, '.', '.', from);
    }
    char first = least_tied ? least_[i] : '0';
    const char last = most_tied ? most_[i] : '9';
    if (i == 0 && n_whole_ > 1) first = std::max(first, '1');
    for (char digit = first; digit <= last; ++digit) {
      const bool at_least = least_tied && digit == least_[i];
      const bool at_most = most_tied && digit == most_[i];
      uint32_t& next = states_[4 * (i + 1) + 2 * size_t(at_least) + size_t(at_most)];
      const bool known = next != 0;
      if (!known) next = nfa_.add_state();
      nfa_.add_edge(from, uint32_t(digit), uint32_t(digit), next);
      if (!known) extend(i + 1, at_least, at_most, next);
    }
  }

  Nfa& nfa_;
  uint32_t from_, to_;
  size_t scale_;
  size_t n_whole_ = 0;  // digits before the point of the length being added
  std::string least_, most_;
  std::vector<uint32_t> states_;  // [digits read][tied to least][tied to most]; 0: not yet
};

Dfa multiples_of(int m) {
  Dfa dfa;  // states: before anything, after a sign, then the remainders
  const auto digits = [m](uint32_t remainder) {
    std::vector<Edge> edges;
    for (uint32_t digit = 0; digit < 10; ++digit) {
      edges.push_back({'0' + digit, '0' + digit, 2 + (remainder * 10 + digit) % uint32_t(m)});
    }
    return edges;
  };
  std::vector<Edge> start = digits(0);
  start.insert(start.begin(), {'-', '-', 1});
  dfa.states.push_back({std::move(start), false});
  dfa.states.push_back({digits(0), false});
  for (int r = 0; r < m; ++r) dfa.states.push_back({digits(uint32_t(r)), r == 0});
  return dfa;
}

int scale_of(const NumberRange& range) {
  if (range.integer) return 0;
  int scale = kUsualScale;
  if (range.least) scale = std::max(scale, range.least->value.scale);
  if (range.most) scale = std::max(scale, range.most->value.scale);
  return scale;
}

}  // namespace

std::optional<Decimal> Decimal::parse(std::string_view json) {
  Decimal number;
  if (json.starts_with('-')) number.negative = true, json.remove_prefix(1);
  const size_t e = json.find_first_of("eE");
  int64_t exponent = 0;
  if (e != std::string_view::npos) {
    std::string_view digits = json.substr(e + 1);
    if (digits.starts_with('+')) digits.remove_prefix(1);
    const std::optional<int64_t> parsed = parse_int(digits);
    if (!parsed || *parsed > 4 * kMaxExponent || *parsed < -4 * kMaxExponent) return std::nullopt;
    exponent = *parsed;
    json = json.substr(0, e);
  }
  bool point = false;
  for (const char c : json) {
    if (c == '.' && !point) {
      point = true;
    } else if (c >= '0' && c <= '9') {
      number.digits.push_back(c);
      if (point) --exponent;
    } else {
      return std::nullopt;
    }
  }
  strip_zeros(number.digits);
  while (!number.digits.empty() && number.digits.back() == '0')
    number.digits.pop_back(), ++exponent;
  if (number.digits.empty()) return Decimal{};
  if (exponent > kMaxExponent || exponent < -kMaxExponent) return std::nullopt;
  if (exponent > 0) number.digits.append(size_t(exponent), '0');
  number.scale = int(std::max<int64_t>(0, -exponent));
  return number;
}

Result<Dfa> number_dfa(const NumberRange& range, Work& work) {
  const int scale = scale_of(range);
  std::optional<Whole> least, most;
  if (range.least) least = least_whole(*range.least, scale);
  if (range.most) most = most_whole(*range.most, scale);
  Nfa nfa;
  nfa.final = nfa.add_state();
  const auto magnitude = [](const std::optional<Whole>& whole) {
    return whole ? std::optional(whole->digits) : std::nullopt;
  };
  // Each sign has its own bounds, seen from 0.
  if (!most || !most->negative) {
    const std::string from = least && !least->negative ? least->digits : "";
    Magnitudes(nfa, Nfa::kStart, nfa.final, scale).add(from, magnitude(most));
  }
  if (!least || least->negative) {
    const uint32_t minus = nfa.add_state();
    nfa.add_edge(Nfa::kStart, '-', '-', minus);
    const std::string from = most && most->negative ? most->digits : "1";
    Magnitudes(nfa, minus, nfa.final, scale).add(from, magnitude(least));
  }
  const Dfa dfa = trim(LM_TRY(determinize(nfa, work)));
  return range.multiple_of == 1 ? dfa : intersect(dfa, multiples_of(range.multiple_of), work);
}

}  // namespace lm::grammar
