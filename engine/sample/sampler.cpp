#include "engine/sample/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/core/check.h"
#include "engine/sample/candidates.h"
#include "engine/sample/penalties.h"
#include "engine/sample/philox.h"
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
  void truncate(std::span<const float> logits, uint64_t position);
  TokenId choose(std::span<const float> logits, uint64_t position);
  TokenId choose_mirostat(std::span<const float> logits, uint64_t position);
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

void Sampler::Impl::truncate(std::span<const float> logits, uint64_t position) {
  candidates.select(logits, params.top_k);
  if (candidates.empty()) return;
  if (params.typical_p < 1) candidates.keep_typical(params.typical_p);
  if (params.top_p < 1) candidates.keep_top_p(params.top_p);
  if (params.min_p > 0) candidates.keep_min_p(params.min_p);
  const bool exclude =
      params.xtc_probability > 0 &&
      uniform_noise(params.seed, NoiseStream::xtc, position, 0) < double(params.xtc_probability);
  if (exclude) candidates.exclude_top_choices(params.xtc_threshold);
}

TokenId Sampler::Impl::choose(std::span<const float> logits, uint64_t position) {
  truncate(logits, position);
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
  const uint64_t position = history.size() + impl_->n_forgotten;
  const TokenId token =
      mirostat ? impl_->choose_mirostat(logits, position) : impl_->choose(logits, position);
  if (token < 0) return {-1, -std::numeric_limits<float>::infinity()};
  return {token, unmodified[size_t(token)] - max - log_z};
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
