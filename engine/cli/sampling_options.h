// engine/cli/sampling_options.h — how the next token is chosen, as options. They change the
// model's own defaults, which are known only after it was opened; so each use is kept as a change.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/cli/options.h"
#include "engine/core/result.h"
#include "engine/runtime/engine.h"

namespace lm::cli {

class SamplingOptions {
 public:
  void declare(Options& options);

  // bad_request when the changes can't be right whatever the model is: asked before loading it.
  Status check() const;
  // `defaults` with every change, DRY's sequence breakers in the model's tokens, and a seed.
  Result<SamplingParams> resolve(SamplingParams defaults, const Tokenizer& tokenizer) const;

 private:
  using Change = std::function<void(SamplingParams&)>;

  void declare_seed(Options& options);
  void declare_lists(Options& options);
  SamplingParams changed(SamplingParams params) const;

  std::vector<Change> changes_;
  std::vector<std::pair<TokenId, float>> biases_;
  std::vector<std::string> dry_breakers_;
  std::optional<uint64_t> seed_;
};

// One of them by the name of its option, without dashes ("top-k"). nullopt: there is none.
std::optional<std::string> sampling_value(const SamplingParams& params, std::string_view name);
std::vector<std::string_view> sampling_names();
// bad_request: there is no such name, or the value is out of its range.
Status set_sampling(SamplingParams& params, std::string_view name, std::string_view value);

}  // namespace lm::cli
