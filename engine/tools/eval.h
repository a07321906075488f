// engine/tools/eval.h — how well a model predicts a text, and how far it is from another one. As
// the field does it (llama.cpp's perplexity tool): the text is cut into windows of --ctx tokens,
// each begins with BOS where the model wants one, and the second half of each is scored.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "engine/core/result.h"
#include "engine/core/token.h"
#include "engine/runtime/instance.h"
#include "engine/tools/eval_stats.h"

namespace lm {

struct EvalOptions {
  int n_ctx = 512;      // tokens of a window
  int max_windows = 0;  // 0: all
  int n_threads = 0;    // that compare distributions; 0: every usable core
  std::function<void(uint64_t done, uint64_t total)> progress{};  // tokens; may be empty
  std::function<bool()> stop{};
};

struct EvalReport {
  int n_ctx = 0;
  size_t n_windows = 0, n_tokens = 0;  // tokens that were scored
  Estimate perplexity;
  std::optional<Comparison> comparison;  // with the base
};

// Fits `options` for an instance that evaluate() will run: its context, and room for the logits.
void prepare_for_eval(int n_ctx, InstanceOptions& options);

// The tokens of a text as evaluate() wants them: with BOS in front where the model wants one.
std::vector<TokenId> eval_tokens(const Tokenizer& tokenizer, std::string_view text);

// bad_request when a text of so many tokens is less than a window.
Status check_eval_length(size_t n_tokens, int n_ctx);

// `base` may be nullptr. bad_request when `ids` are less than a window, or when the two models have
// different vocabularies. `bos` replaces the first token of every window; -1: none.
Result<EvalReport> evaluate(Instance& model, Instance* base, std::span<const TokenId> ids,
                            TokenId bos, const EvalOptions& options);

}  // namespace lm
