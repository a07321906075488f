#include "engine/tools/eval.h"

#include <algorithm>
#include <cmath>

#include "engine/core/check.h"
#include "engine/core/machine.h"
#include "engine/core/text.h"
#include "engine/core/thread_pool.h"

namespace lm {
namespace {

// Logits of a step: of as many tokens as make 64 MiB, within these bounds.
constexpr int64_t kLogitFloats = int64_t{16} << 20;
constexpr int kLeastRows = 16, kMostRows = 256;

int rows_at_once(const Instance& instance) {
  const int64_t rows = kLogitFloats / std::max(1, instance.config().n_vocab);
  return int(
      std::clamp<int64_t>(rows, kLeastRows, std::min(kMostRows, instance.max_step_logits())));
}

// Runs windows of one model, a chunk after the other.
class WindowRunner {
 public:
  explicit WindowRunner(Instance& instance) : instance_(instance), table_(instance.pool()) {}

  Status start(int n_tokens) {
    table_.truncate(0);
    if (table_.grow(n_tokens)) return ok();
    return Error{ErrorCode::context_full,
                 concat("no room in the KV cache for a window of ", n_tokens, " tokens")};
  }
  // Tokens whose scores nobody asks for.
  Status skip(std::span<const TokenId> tokens, int first) {
    const int most = instance_.max_step_tokens();
    for (size_t done = 0; done < tokens.size(); done += size_t(most)) {
      const auto part = tokens.subspan(done, std::min(size_t(most), tokens.size() - done));
      LM_TRY(step(part, first + int(done), 0));
    }
    return ok();
  }
  // [tokens, n_vocab], until the next call.
  Result<std::span<float>> scores(std::span<const TokenId> tokens, int first) {
    return step(tokens, first, int(tokens.size()));
  }

 private:
  Result<std::span<float>> step(std::span<const TokenId> tokens, int first, int n_logits) {
    if (!table_.open_window(first, first + int(tokens.size()))) {
      return Error{ErrorCode::context_full, "no room in the KV cache for a sliding window"};
    }
    const StepRow row{tokens, first, &table_, n_logits};
    return instance_.step({&row, 1});
  }

  Instance& instance_;
  BlockTable table_;
};

class Evaluation {
 public:
  Evaluation(Instance& model, Instance* base, const EvalOptions& options)
      : options_(options),
        model_(model),
        threads_(options.n_threads > 0 ? options.n_threads : usable_cores()),
        n_vocab_(size_t(model.config().n_vocab)),
        chunk_(rows_at_once(model)) {
    if (base == nullptr) return;
    base_.emplace(*base);
    chunk_ = std::min(chunk_, rows_at_once(*base));
  }

  Status window(std::span<const TokenId> tokens);
  const std::vector<TokenScore>& scores() const { return scores_; }

 private:
  Status chunk(std::span<const TokenId> tokens, int first, int n);

  const EvalOptions& options_;
  WindowRunner model_;
  std::optional<WindowRunner> base_;
  ThreadPool threads_;
  size_t n_vocab_;
  int chunk_;
  std::vector<TokenScore> scores_;
};

// Positions [first, first + n) of the window: their scores are for the tokens behind them.
Status Evaluation::chunk(std::span<const TokenId> tokens, int first, int n) {
  const auto part = tokens.subspan(size_t(first), size_t(n));
  std::span<const float> base;
  if (base_) base = LM_TRY(base_->scores(part, first));
  const std::span<const float> logits = LM_TRY(model_.scores(part, first));
  const size_t done = scores_.size();
  scores_.resize(done + size_t(n));
  threads_.parallel_for(n, [&](int64_t i, int) {
    const size_t at = size_t(i) * n_vocab_;
    const TokenId next = tokens[size_t(first) + size_t(i) + 1];
    scores_[done + size_t(i)] =
        base.empty() ? score_token(logits.subspan(at, n_vocab_), next)
                     : score_token(logits.subspan(at, n_vocab_), base.subspan(at, n_vocab_), next);
  });
  // Nothing can be said of means and quantiles with one NaN among the values.
  for (const TokenScore& score : std::span(scores_).subspan(done)) {
    if (std::isfinite(score.nll) && std::isfinite(score.base_nll) && std::isfinite(score.kl))
      continue;
    return Error{ErrorCode::bad_file,
                 concat("expected finite probabilities of the text's tokens, found one that is "
                        "not: the weights of ",
                        std::isfinite(score.nll) ? "the base" : "the model", " are damaged")};
  }
  return ok();
}

Status Evaluation::window(std::span<const TokenId> tokens) {
  const int n = int(tokens.size());
  const int scored_from = n / 2;
  LM_TRY(model_.start(n));
  LM_TRY(model_.skip(tokens.first(size_t(scored_from)), 0));
  if (base_) {
    LM_TRY(base_->start(n));
    LM_TRY(base_->skip(tokens.first(size_t(scored_from)), 0));
  }
  for (int first = scored_from; first < n - 1; first += chunk_) {
    if (options_.stop && options_.stop())
      return Error{ErrorCode::cancelled, "the evaluation was stopped"};
    LM_TRY(chunk(tokens, first, std::min(chunk_, n - 1 - first)));
  }
  return ok();
}

Status check(const Instance& model, const Instance* base, size_t n_ids,
             const EvalOptions& options) {
  if (options.n_ctx < 4) {
    return Error{ErrorCode::bad_request,
                 concat("expected windows of 4 tokens or more, found ", options.n_ctx)};
  }
  LM_TRY(check_eval_length(n_ids, options.n_ctx));
  if (base != nullptr && base->config().n_vocab != model.config().n_vocab) {
    return Error{ErrorCode::bad_request,
                 concat("expected two models of one vocabulary, found ", model.config().n_vocab,
                        " and ", base->config().n_vocab, " tokens")};
  }
  return ok();
}

}  // namespace

void prepare_for_eval(int n_ctx, InstanceOptions& options) {
  options.n_ctx = n_ctx;
  options.max_step_logits = kMostRows;
  options.max_step_tokens = std::max(kMostRows, std::min(n_ctx, 512));
}

Status check_eval_length(size_t n_tokens, int n_ctx) {
  if (n_tokens >= size_t(n_ctx)) return ok();
  return Error{ErrorCode::bad_request,
               concat("expected a text of ", n_ctx, " tokens or more, found ", n_tokens)};
}

std::vector<TokenId> eval_tokens(const Tokenizer& tokenizer, std::string_view text) {
  std::vector<TokenId> ids;
  if (tokenizer.add_bos()) ids.push_back(tokenizer.bos());
  tokenizer.encode(text, Tokenizer::Special::as_text, ids);
  return ids;
}

Result<EvalReport> evaluate(Instance& model, Instance* base, std::span<const TokenId> ids,
                            TokenId bos, const EvalOptions& options) {
  LM_TRY(check(model, base, ids.size(), options));
  const auto n_ctx = size_t(options.n_ctx);
  size_t n_windows = ids.size() / n_ctx;
  if (options.max_windows > 0) n_windows = std::min(n_windows, size_t(options.max_windows));
  Evaluation evaluation(model, base, options);
  for (size_t i = 0; i < n_windows; ++i) {
    const auto part = ids.subspan(i * n_ctx, n_ctx);
    std::vector<TokenId> window(part.begin(), part.end());
    if (bos >= 0) window[0] = bos;
    LM_TRY(evaluation.window(window));
    if (options.progress) options.progress((i + 1) * n_ctx, n_windows * n_ctx);
  }
  EvalReport report{.n_ctx = options.n_ctx,
                    .n_windows = n_windows,
                    .n_tokens = evaluation.scores().size(),
                    .perplexity = perplexity_of(evaluation.scores()),
                    .comparison = {}};
  if (base != nullptr) report.comparison = compare(evaluation.scores());
  return report;
}

}  // namespace lm
