#include "engine/sample/candidates.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "engine/core/philox.h"
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
  const size_t k = top_k > 0 ? size_t(top_k) : logits.size();
  if (k <= kLargestHeap && k < logits.size()) {
    select_with_heap(logits, k);
    return;
  }
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] > -kInfinity) list_.push_back({logits[i], TokenId(i)});
  }
  keep_largest(k);
}

void Candidates::select(std::span<const TokenId> ids, std::span<const float> logits, int top_k) {
  list_.clear();
  for (const TokenId id : ids) {
    if (id >= 0 && logits[size_t(id)] > -kInfinity) list_.push_back({logits[size_t(id)], id});
  }
  if (top_k > 0) keep_largest(size_t(top_k));
}

void Candidates::keep_largest(size_t k) {
  if (k >= list_.size()) return;
  std::nth_element(list_.begin(), list_.begin() + std::ptrdiff_t(k), list_.end(), larger);
  list_.resize(k);
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
}

float Candidates::max_logit() const {
  float max = -kInfinity;
  for (const Candidate& c : list_) max = std::max(max, c.logit);
  return max;
}

double Candidates::total_weight(float max, float temperature) const {
  double total = 0;
  for (const Candidate& c : list_) total += double(weight(c.logit, max, temperature));
  return total;
}

// Keeps the shortest prefix whose probability reaches p, in order of distance(c) >= 0 (of equals,
// the larger first). Linear: masses are summed by bucket of distance, and only the bucket in which
// the prefix ends is sorted.
template <class Distance>
void Candidates::keep_mass(double p, Distance distance) {
  constexpr size_t kBuckets = 1024;
  constexpr double kBucketsPerUnit = 64;  // distances are logits: e^-16 is the last bucket's weight
  const auto bucket = [&](const Candidate& c) {
    return size_t(std::min(distance(c) * kBucketsPerUnit, double(kBuckets - 1)));
  };
  const float max = max_logit();
  std::array<double, kBuckets> masses{};
  for (const Candidate& c : list_) masses[bucket(c)] += double(weight(c.logit, max, 1));
  double total = 0;
  for (const double mass : masses) total += mass;
  const double needed = std::max(p * total, std::numeric_limits<double>::min());  // never nothing

  double mass = 0;
  size_t last = 0;
  while (last + 1 < kBuckets && mass + masses[last] < needed) mass += masses[last++];
  const auto inside = std::partition(list_.begin(), list_.end(),
                                     [&](const Candidate& c) { return bucket(c) < last; });
  const auto end =
      std::partition(inside, list_.end(), [&](const Candidate& c) { return bucket(c) == last; });
  std::sort(inside, end, [&](const Candidate& a, const Candidate& b) {
    const double da = distance(a), db = distance(b);
    return da != db ? da < db : larger(a, b);
  });
  auto kept = inside;
  while (kept != end && mass < needed) {
    mass += double(weight(kept->logit, max, 1));
    ++kept;
  }
  list_.erase(kept, list_.end());
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
  keep_mass(double(p), [center](const Candidate& c) { return std::abs(double(c.logit) - center); });
}

void Candidates::keep_top_p(float p) {
  const double max = double(max_logit());
  keep_mass(double(p), [max](const Candidate& c) { return max - double(c.logit); });
}

void Candidates::keep_min_p(float min_p) {
  // p >= min_p · p_max is logit >= max + log min_p
  const float least = max_logit() + std::log(min_p);
  std::erase_if(list_, [&](const Candidate& c) { return c.logit < least; });
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
  std::erase_if(list_, [&](const Candidate& c) { return is_top(c) && c.id != kept; });
}

void Candidates::keep_surprise_below(float mu, float temperature) {
  const float max = max_logit();
  const double total = total_weight(max, temperature);
  std::erase_if(list_, [&](const Candidate& c) {
    const double p = double(weight(c.logit, max, temperature)) / total;
    return c.logit != max && !(-std::log2(p) <= double(mu));
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
