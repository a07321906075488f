#include "engine/sample/candidates.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/sample/philox.h"
#include "engine/sample/softmax.h"

namespace lm {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
// A heap of the largest is one comparison for most logits; past this size, selection is faster.
constexpr size_t kLargestHeap = 1024;

bool larger(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

// exp((logit - max) / T)
float weight(float logit, float max, float temperature) {
  return exp_nonpositive((logit - max) / temperature);
}

}  // namespace

void Candidates::select(std::span<const float> logits, int top_k) {
  list_.clear();
  list_.reserve(logits.size());
  n_sorted_ = 0;
  const size_t k = top_k > 0 ? size_t(top_k) : logits.size();
  if (k <= kLargestHeap && k < logits.size()) {
    select_with_heap(logits, k);
    return;
  }
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] > -kInfinity) list_.push_back({logits[i], TokenId(i)});
  }
  if (k < list_.size()) {
    std::nth_element(list_.begin(), list_.begin() + std::ptrdiff_t(k), list_.end(), larger);
    list_.resize(k);
  }
}

void Candidates::select_with_heap(std::span<const float> logits, size_t k) {
  size_t i = 0;
  for (; i < logits.size() && list_.size() < k; ++i) {
    if (logits[i] > -kInfinity) list_.push_back({logits[i], TokenId(i)});
  }
  std::make_heap(list_.begin(), list_.end(), larger);  // the smallest is in front
  for (; i < logits.size(); ++i) {
    if (!(logits[i] > list_.front().logit)) continue;  // of equals, the lower id is kept
    std::pop_heap(list_.begin(), list_.end(), larger);
    list_.back() = {logits[i], TokenId(i)};
    std::push_heap(list_.begin(), list_.end(), larger);
  }
  std::sort_heap(list_.begin(), list_.end(), larger);
  n_sorted_ = list_.size();
}

float Candidates::max_logit() const {
  if (n_sorted_ > 0) return list_.front().logit;
  float max = -kInfinity;
  for (const Candidate& c : list_) max = std::max(max, c.logit);
  return max;
}

double Candidates::total_weight(float max, float temperature) const {
  double total = 0;
  for (const Candidate& c : list_) total += double(weight(c.logit, max, temperature));
  return total;
}

// Given that `sorted` at the front are in place, puts n there (or all that there are).
template <class Before>
void Candidates::sort_prefix(size_t sorted, size_t n, Before before) {
  n = std::min(n, list_.size());
  if (n <= sorted) return;
  const auto begin = list_.begin();
  const auto first = begin + std::ptrdiff_t(sorted), last = begin + std::ptrdiff_t(n);
  if (n < list_.size()) std::nth_element(first, last, list_.end(), before);
  std::sort(first, last, before);
}

// Keeps the shortest prefix in the order `before` whose probability reaches p.
template <class Before>
void Candidates::keep_mass(double p, size_t sorted, Before before) {
  const float max = max_logit();
  const double needed = p * total_weight(max, 1);
  double mass = 0;
  for (size_t i = 0; i < list_.size(); ++i) {
    if (i >= sorted) {
      constexpr size_t kFirst = 64, kGrowth = 4;
      const size_t n = std::max(kFirst, sorted * kGrowth);
      sort_prefix(sorted, n, before);
      sorted = std::min(n, list_.size());
    }
    mass += double(weight(list_[i].logit, max, 1));
    if (mass >= needed) {
      list_.resize(i + 1);
      break;
    }
  }
}

template <class Keep>
void Candidates::filter(Keep keep) {
  size_t kept = 0, kept_sorted = 0;
  for (size_t i = 0; i < list_.size(); ++i) {
    if (!keep(list_[i])) continue;
    list_[kept++] = list_[i];
    if (i < n_sorted_) ++kept_sorted;
  }
  list_.resize(kept);
  n_sorted_ = kept_sorted;
}

void Candidates::keep_typical(float p) {
  // Entropy H = -Σ p log p = log Z - Σ w (l - max) / Z with w = exp(l - max), Z = Σ w.
  const float max = max_logit();
  double z = 0, weighted = 0;
  for (const Candidate& c : list_) {
    const double w = double(weight(c.logit, max, 1));
    z += w;
    if (w > 0) weighted += w * (double(c.logit) - double(max));
  }
  const double log_z = std::log(z);
  const double entropy = log_z - weighted / z;
  const double center = double(max) + log_z - entropy;  // the logit whose surprise is the entropy
  const auto more_typical = [center](const Candidate& a, const Candidate& b) {
    const double da = std::abs(double(a.logit) - center), db = std::abs(double(b.logit) - center);
    return da != db ? da < db : larger(a, b);
  };
  keep_mass(double(p), 0, more_typical);
  n_sorted_ = 0;
}

void Candidates::keep_top_p(float p) {
  keep_mass(double(p), n_sorted_, larger);
  n_sorted_ = list_.size();
}

void Candidates::keep_min_p(float min_p) {
  // p >= min_p · p_max is logit >= max + log min_p
  const float least = max_logit() + std::log(min_p);
  filter([&](const Candidate& c) { return c.logit >= least; });
}

void Candidates::exclude_top_choices(float threshold) {
  const float max = max_logit();
  const double needed = double(threshold) * total_weight(max, 1);
  const auto is_top = [&](const Candidate& c) { return double(weight(c.logit, max, 1)) >= needed; };
  const Candidate* least = nullptr;
  for (const Candidate& c : list_) {
    if (is_top(c) && (least == nullptr || larger(*least, c))) least = &c;
  }
  if (least == nullptr) return;
  const TokenId kept = least->id;
  filter([&](const Candidate& c) { return c.id == kept || !is_top(c); });
}

void Candidates::keep_surprise_below(float mu, float temperature) {
  const float max = max_logit();
  const double total = total_weight(max, temperature);
  filter([&](const Candidate& c) {
    const double p = double(weight(c.logit, max, temperature)) / total;
    return c.logit == max || -std::log2(p) <= double(mu);
  });
}

TokenId Candidates::most_likely() const {
  return std::min_element(list_.begin(), list_.end(), larger)->id;
}

TokenId Candidates::draw(float temperature, uint64_t seed, uint64_t position) const {
  const float max = max_logit();
  double best = std::numeric_limits<double>::infinity();
  TokenId token = -1;
  for (const Candidate& c : list_) {
    const double w = double(weight(c.logit, max, temperature));
    if (w == 0) continue;
    const double u = uniform_noise(seed, NoiseStream::token, position, uint32_t(c.id));
    if (u >= best * w) continue;  // E = -log(1 - u) >= u: no need for the logarithm
    const double arrival = -std::log1p(-u) / w;
    if (arrival < best || (arrival == best && c.id < token)) {
      best = arrival;
      token = c.id;
    }
  }
  return token;
}

float Candidates::surprise(TokenId id, float temperature) const {
  const float max = max_logit();
  const auto is_token = [id](const Candidate& c) { return c.id == id; };
  const auto token = std::find_if(list_.begin(), list_.end(), is_token);
  const double p = double(weight(token->logit, max, temperature)) / total_weight(max, temperature);
  return float(-std::log2(p));
}

}  // namespace lm
