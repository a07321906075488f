#include "engine/sample/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "engine/core/check.h"
#include "engine/core/philox.h"
#include "engine/sample/candidates.h"
#include "engine/sample/penalties.h"
#include "engine/sample/softmax.h"

namespace lm {

// What accept() changes is state (filter, mu); the rest is scratch, kept so that sampling allocates
// nothing after its first call.
struct Sampler::Impl {
  SamplingParams params;
  std::unique_ptr<TokenFilter> filter;
  float mu;            // mirostat: the largest surprise allowed, in bits
  TokenId drawn = -1;  // mirostat: the last draw and its surprise, for accept()
  float drawn_surprise = 0;
  uint64_t n_forgotten = 0;  // tokens that the history began with

  std::vector<float> unmodified;
  std::vector<float> sparse;  // -inf but for the tokens that are looked at
  Candidates candidates;
  Penalties penalties;

  explicit Impl(SamplingParams p, std::unique_ptr<TokenFilter> f)
      : params(std::move(p)), filter(std::move(f)), mu(2 * params.mirostat_tau) {}
  Impl(const Impl& other) : Impl(other.params, nullptr) { copy_state(other); }

  void copy_state(const Impl& other) {
    filter = other.filter ? other.filter->clone() : nullptr;
    mu = other.mu;
    drawn = other.drawn;
    drawn_surprise = other.drawn_surprise;
    n_forgotten = other.n_forgotten;
  }

  void modify(std::span<float> logits, std::span<const TokenId> history);
  void truncate(uint64_t position);
  TokenId choose(uint64_t position);
  TokenId choose_mirostat(std::span<const float> logits, uint64_t position);

  size_t candidates_needed() const;
  std::optional<Sampled> sample_top(const TopLogits& top, std::span<const TokenId> history);
};

void Sampler::Impl::modify(std::span<float> logits, std::span<const TokenId> history) {
  for (const auto& [token, bias] : params.logit_bias) {
    if (token < 0 || size_t(token) >= logits.size()) continue;
    logits[size_t(token)] = bounded_logit(logits[size_t(token)] + bias);
  }
  penalties.apply_repetition(params, history, logits);
  penalties.apply_dry(params, history, logits);
  if (filter) filter->apply(logits);
}

void Sampler::Impl::truncate(uint64_t position) {
  if (candidates.empty()) return;
  if (params.typical_p < 1) candidates.keep_typical(params.typical_p);
  if (params.top_p < 1) candidates.keep_top_p(params.top_p);
  if (params.min_p > 0) candidates.keep_min_p(params.min_p);
  const bool exclude =
      params.xtc_probability > 0 &&
      uniform_noise(params.seed, NoiseStream::xtc, position, 0) < double(params.xtc_probability);
  if (exclude) candidates.exclude_top_choices(params.xtc_threshold);
}

// From the candidates that were selected.
TokenId Sampler::Impl::choose(uint64_t position) {
  truncate(position);
  if (candidates.empty()) return -1;
  if (params.temperature == 0) return candidates.most_likely();
  return candidates.draw(params.temperature, params.seed, position);
}

TokenId Sampler::Impl::choose_mirostat(std::span<const float> logits, uint64_t position) {
  candidates.select(logits, 0);
  if (candidates.empty()) return -1;
  candidates.keep_surprise_below(mu, params.temperature);
  drawn = candidates.draw(params.temperature, params.seed, position);
  drawn_surprise = candidates.surprise(drawn, params.temperature);
  return drawn;
}

Sampler::Sampler(SamplingParams params, std::unique_ptr<TokenFilter> filter)
    : impl_(std::make_unique<Impl>(std::move(params), std::move(filter))) {}
Sampler::Sampler(const Sampler& other) : impl_(std::make_unique<Impl>(*other.impl_)) {}
Sampler::Sampler(Sampler&&) noexcept = default;
Sampler& Sampler::operator=(Sampler&&) noexcept = default;
Sampler::~Sampler() = default;

const SamplingParams& Sampler::params() const {
  return impl_->params;
}

Sampled Sampler::sample(std::span<float> logits, std::span<const TokenId> history) {
  LM_CHECK(!logits.empty());
  for (float& logit : logits) logit = bounded_logit(logit);
  const float max = largest(logits);
  const float log_z = log_sum_exp_below(logits, max);
  std::vector<float>& unmodified = impl_->unmodified;
  unmodified.assign(logits.begin(), logits.end());

  impl_->modify(logits, history);
  const bool mirostat = impl_->params.mirostat == 2 && impl_->params.temperature > 0;
  TokenId token = -1;
  if (mirostat) {
    token = impl_->choose_mirostat(logits, position(history.size()));
  } else {
    impl_->candidates.select(logits, impl_->params.top_k);
    token = impl_->choose(position(history.size()));
  }
  if (token < 0) return {-1, -std::numeric_limits<float>::infinity()};
  return {token, unmodified[size_t(token)] - max - log_z};
}

// How many of the largest logits decide the token, whatever the others are; 0: all are needed.
size_t Sampler::Impl::candidates_needed() const {
  const bool greedy =
      params.temperature == 0 && params.typical_p >= 1 && params.xtc_probability == 0;
  if (greedy) return 1;
  const bool mirostat = params.mirostat == 2 && params.temperature > 0;
  return mirostat ? 0 : size_t(std::max(params.top_k, 0));
}

// nullopt: the largest logits do not decide it.
std::optional<Sampled> Sampler::Impl::sample_top(const TopLogits& top,
                                                 std::span<const TokenId> history) {
  const size_t needed = candidates_needed();
  const auto raises = [](const auto& bias) { return !(bias.second <= 0); };
  // Nothing may lift a token that is not among them.
  const bool may_rise = params.repeat_penalty < 1 || params.presence_penalty < 0 ||
                        params.frequency_penalty < 0 || params.dry_multiplier < 0 ||
                        std::any_of(params.logit_bias.begin(), params.logit_bias.end(), raises);
  if (filter || needed == 0 || needed > top.ids.size() || may_rise) return std::nullopt;

  constexpr float kForbidden = -std::numeric_limits<float>::infinity();
  sparse.resize(size_t(top.n_vocab), kForbidden);
  for (size_t i = 0; i < top.ids.size(); ++i) {
    if (top.ids[i] >= 0) sparse[size_t(top.ids[i])] = top.values[i];
  }
  modify(sparse, history);
  candidates.select(top.ids, sparse, int(needed));
  for (const TokenId id : top.ids) {
    if (id >= 0) sparse[size_t(id)] = kForbidden;
  }
  // What is not among the largest is at most as large as the last of them.
  const float bound = top.complete() ? kForbidden : top.values.back();
  const auto certain = [bound](const Candidate& c) { return c.logit > bound; };
  const std::span<const Candidate> chosen = candidates.list();
  const bool enough = chosen.size() == needed || top.complete();
  if (!enough || !std::all_of(chosen.begin(), chosen.end(), certain)) return std::nullopt;

  const TokenId token = choose(history.size() + n_forgotten);
  if (token < 0) return Sampled{-1, kForbidden};
  const size_t place = size_t(std::find(top.ids.begin(), top.ids.end(), token) - top.ids.begin());
  return Sampled{token, top.values[place] - top.values[0] - top.log_z};
}

Sampled Sampler::sample(LogitRow logits, std::span<const TokenId> history) {
  if (const TopLogits* top = logits.top()) {
    if (const std::optional<Sampled> sampled = impl_->sample_top(*top, history)) return *sampled;
  }
  return sample(logits.all(), history);
}

bool Sampler::is_plain() const {
  const SamplingParams& p = impl_->params;
  return !impl_->filter && p.logit_bias.empty() && p.repeat_penalty == 1 &&
         p.presence_penalty == 0 && p.frequency_penalty == 0 && p.dry_multiplier == 0 &&
         p.typical_p >= 1 && p.xtc_probability == 0 && impl_->candidates_needed() > 0;
}

// See sample_top(): nothing changes a plain sampler's logits.
bool Sampler::decided_by(const TopLogits& top) const {
  const size_t needed = impl_->candidates_needed();
  if (needed == 0 || needed > top.ids.size()) return false;
  return top.complete() || top.values[needed - 1] > top.values.back();
}

uint64_t Sampler::position(size_t n_history) const {
  return n_history + impl_->n_forgotten;
}

void Sampler::accept(TokenId token) {
  Impl& state = *impl_;
  if (state.filter) state.filter->accept(token);
  if (token >= 0 && token == state.drawn) {
    state.mu -= state.params.mirostat_eta * (state.drawn_surprise - state.params.mirostat_tau);
  }
  state.drawn = -1;
}

void Sampler::forget(int n) {
  impl_->n_forgotten += uint64_t(n);
}

void Sampler::resume_from(const Sampler& other) {
  impl_->copy_state(*other.impl_);
}

}  // namespace lm
