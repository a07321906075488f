// The ranges of sampling parameters.
#include <cmath>
#include <initializer_list>
#include <limits>

#include "engine/core/text.h"
#include "engine/sample/sampler.h"

namespace lm {
namespace {

constexpr float kMaxFloat = std::numeric_limits<float>::max();
constexpr int kMaxInt = std::numeric_limits<int>::max();
constexpr size_t kMaxBreakers = 256, kMaxBreakerTokens = 64;

struct FloatRange {
  std::string_view name;
  float value, least, most;
};

struct IntRange {
  std::string_view name;
  int value, least, most;
};

Error out_of_range(std::string_view name, std::string_view range, std::string_view found) {
  return {ErrorCode::bad_request, concat("expected ", name, " ", range, ", found ", found)};
}

template <class Range>
Status check(const Range& r, decltype(r.most) unbounded) {
  if (r.value >= r.least && r.value <= r.most) return ok();  // false for NaN
  const std::string range = r.most < unbounded      ? concat("from ", r.least, " to ", r.most)
                            : r.least == -unbounded ? std::string("to be finite")
                                                    : concat("of at least ", r.least);
  return out_of_range(r.name, range, concat(r.value));
}

Status check_lists(const SamplingParams& p) {
  for (const auto& [token, bias] : p.logit_bias) {
    if (token < 0) return out_of_range("a token id in logit_bias", "of at least 0", concat(token));
    if (std::isnan(bias) || bias > kMaxFloat) {
      return out_of_range("logit_bias", "to be finite or -inf", concat(bias));
    }
  }
  if (p.dry_breakers.size() > kMaxBreakers) {
    return out_of_range("dry_breakers", concat("of at most ", kMaxBreakers, " sequences"),
                        concat(p.dry_breakers.size()));
  }
  for (const std::vector<TokenId>& breaker : p.dry_breakers) {
    if (breaker.size() > kMaxBreakerTokens) {
      return out_of_range("dry_breakers", concat("of at most ", kMaxBreakerTokens, " tokens each"),
                          concat(breaker.size()));
    }
  }
  return ok();
}

}  // namespace

Status validate(const SamplingParams& p) {
  const float least_positive = std::numeric_limits<float>::min();
  for (const FloatRange& range : std::initializer_list<FloatRange>{
           {"temperature", p.temperature, 0, kMaxFloat},
           {"top_p", p.top_p, 0, 1},
           {"min_p", p.min_p, 0, 1},
           {"typical_p", p.typical_p, 0, 1},
           {"repeat_penalty", p.repeat_penalty, least_positive, kMaxFloat},
           {"presence_penalty", p.presence_penalty, -kMaxFloat, kMaxFloat},
           {"frequency_penalty", p.frequency_penalty, -kMaxFloat, kMaxFloat},
           {"dry_multiplier", p.dry_multiplier, 0, kMaxFloat},
           {"dry_base", p.dry_base, 1, kMaxFloat},
           {"xtc_probability", p.xtc_probability, 0, 1},
           {"xtc_threshold", p.xtc_threshold, 0, 1},
           {"mirostat_tau", p.mirostat_tau, 0, kMaxFloat},
           {"mirostat_eta", p.mirostat_eta, 0, kMaxFloat},
       }) {
    LM_TRY(check(range, kMaxFloat));
  }
  for (const IntRange& range : std::initializer_list<IntRange>{
           {"top_k", p.top_k, 0, kMaxInt},
           {"repeat_last_n", p.repeat_last_n, -1, kMaxInt},
           {"dry_allowed_length", p.dry_allowed_length, 0, kMaxInt},
           {"dry_last_n", p.dry_last_n, -1, kMaxInt},
       }) {
    LM_TRY(check(range, kMaxInt));
  }
  if (p.mirostat != 0 && p.mirostat != 2) {
    return out_of_range("mirostat", "to be 0 or 2", concat(p.mirostat));
  }
  return check_lists(p);
}

}  // namespace lm
