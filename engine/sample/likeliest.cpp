#include "engine/sample/likeliest.h"

#include <algorithm>
#include <limits>

#include "engine/sample/penalties.h"
#include "engine/sample/softmax.h"

namespace lm {
namespace {

bool likelier(const TokenChance& a, const TokenChance& b) {
  return a.logprob != b.logprob ? a.logprob > b.logprob : a.token < b.token;
}

}  // namespace

void likeliest(std::span<float> logits, size_t n, std::vector<TokenChance>& out) {
  out.clear();
  if (n == 0) return;
  // A heap of the n best so far with the worst of them on top: few logits get past it.
  float worst = -std::numeric_limits<float>::infinity();
  for (size_t i = 0; i < logits.size(); ++i) {
    logits[i] = bounded_logit(logits[i]);
    if (!(logits[i] > worst)) continue;
    if (out.size() == n) {
      std::pop_heap(out.begin(), out.end(), likelier);
      out.pop_back();
    }
    out.push_back({TokenId(i), logits[i]});
    std::push_heap(out.begin(), out.end(), likelier);
    if (out.size() == n) worst = out.front().logprob;
  }
  if (out.empty()) return;
  std::sort_heap(out.begin(), out.end(), likelier);
  const float max = out.front().logprob;
  const float log_z = log_sum_exp_below(logits, max);
  for (TokenChance& chance : out) chance.logprob -= max + log_z;
}

void likeliest(LogitRow logits, size_t n, std::vector<TokenChance>& out) {
  out.clear();
  if (n == 0) return;
  const TopLogits* top = logits.top();
  if (top == nullptr || (n > top->ids.size() && !top->complete())) {
    return likeliest(logits.all(), n, out);
  }
  for (size_t i = 0; i < top->ids.size() && out.size() < n; ++i) {
    const bool possible = top->values[i] > -std::numeric_limits<float>::infinity();
    if (possible) out.push_back({top->ids[i], top->values[i] - top->values[0] - top->log_z});
  }
}

}  // namespace lm
