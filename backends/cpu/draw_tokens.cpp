// A token from each row's candidates: they come sorted, so that every truncation keeps a prefix.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <span>

#include "backends/cpu/ops.h"
#include "backends/op_checks.h"
#include "engine/core/philox.h"

namespace lm::cpu {
namespace {

double weight(float logit, float max, float temperature) {
  return std::exp((double(logit) - double(max)) / double(temperature));
}

// How many of the sorted logits may be drawn, at least the first.
size_t n_kept(const DrawRule& rule, std::span<const float> logits) {
  const float max = logits[0], least = max + std::log(rule.min_p);
  double total = 0, mass = weight(max, max, 1);
  for (const float logit : logits) total += weight(logit, max, 1);
  size_t n = 1;
  for (; n < logits.size() && logits[n] > -std::numeric_limits<float>::infinity(); ++n) {
    const bool reached = rule.top_p < 1 && mass >= double(rule.top_p) * total;
    if (reached || logits[n] < least) break;
    mass += weight(logits[n], max, 1);
  }
  return n;
}

int32_t draw(const DrawRule& rule, const int32_t* ids, std::span<const float> logits) {
  if (rule.temperature == 0) return ids[0];
  double best = std::numeric_limits<double>::infinity();
  int32_t token = ids[0];
  const size_t n = n_kept(rule, logits);
  for (size_t i = 0; i < n; ++i) {
    const double u = uniform_noise(rule.seed, NoiseStream::token, rule.position, uint32_t(ids[i]));
    const double arrival = -std::log1p(-u) / weight(logits[i], logits[0], rule.temperature);
    if (arrival < best || (arrival == best && ids[i] < token)) {
      best = arrival;
      token = ids[i];
    }
  }
  return token;
}

}  // namespace

void draw_tokens(const Context&, const DrawTokens& op) {
  check_shapes(op);
  const int64_t k = op.ids.cols();
  for (int64_t i = 0; i < op.tokens.cols(); ++i) {
    DrawRule rule;
    std::memcpy(&rule, op.rules.data() + i * op.rules.row_bytes, sizeof rule);
    const auto* const ids =
        reinterpret_cast<const int32_t*>(op.ids.data() + rule.row * op.ids.row_bytes);
    const std::span<const float> logits(f32_row(op.values, rule.row),
                                        size_t(std::min<int64_t>(rule.top_k, k)));
    reinterpret_cast<int32_t*>(op.tokens.data())[i] = draw(rule, ids, logits);
  }
}

}  // namespace lm::cpu
