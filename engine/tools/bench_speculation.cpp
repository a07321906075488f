#include "engine/tools/bench_speculation.h"

#include <algorithm>
#include <atomic>
#include <limits>
#include <memory>
#include <utility>

#include "engine/core/machine.h"
#include "engine/core/text.h"
#include "engine/runtime/draft_policy.h"
#include "engine/runtime/engine.h"
#include "engine/runtime/model_drafter.h"
#include "engine/tools/bench_answers.h"
#include "engine/tools/model_pair.h"

namespace lm {
namespace {

constexpr int kTimesLarger = 10;    // the target than its draft model
constexpr int kFileTokens = 512;    // of the file that is edited
constexpr int kTokensPerEdit = 32;  // about
constexpr int kProsePrompt = 16;    // tokens

using Tokens = std::vector<TokenId>;

// splitmix64 (doi:10.1145/2714064.2660195)
class Numbers {
 public:
  explicit Numbers(uint64_t seed) : state_(seed) {}
  uint64_t below(uint64_t n) {
    uint64_t z = state_ += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return (z ^ z >> 31) % n;
  }

 private:
  uint64_t state_;
};

// Tokens with the habits of source text: of few names some are frequent, and phrases come again.
Tokens make_file(Numbers& numbers, int n_vocab) {
  Tokens names(100), file;
  for (TokenId& name : names) name = TokenId(numbers.below(uint64_t(n_vocab)));
  while (file.size() < size_t(kFileTokens)) {
    if (file.size() > 50 && numbers.below(4) == 0) {
      const size_t from = numbers.below(file.size() - 8);
      for (size_t i = 0; i < 3 + numbers.below(5); ++i) file.push_back(file[from + i]);
    }
    file.push_back(names[numbers.below(1 + numbers.below(names.size()))]);
  }
  return file;
}

// The file again, with a token replaced, left out or put in here and there.
Tokens edited(const Tokens& file, Numbers& numbers, int n_vocab) {
  Tokens text;
  for (const TokenId token : file) {
    const uint64_t edit = numbers.below(3 * kTokensPerEdit);
    if (edit <= 1) text.push_back(TokenId(numbers.below(uint64_t(n_vocab))));
    if (edit != 0 && edit != 2) text.push_back(token);
  }
  return text;
}

// Makes the answer what is to be measured, whatever the model would say.
class Script final : public TokenFilter {
 public:
  explicit Script(std::shared_ptr<const Tokens> text) : text_(std::move(text)) {}
  void apply(std::span<float> logits) override {
    if (at_ >= text_->size()) return;
    std::fill(logits.begin(), logits.end(), -std::numeric_limits<float>::infinity());
    logits[size_t((*text_)[at_])] = 0;
  }
  void accept(TokenId) override { ++at_; }
  std::unique_ptr<TokenFilter> clone() const override { return std::make_unique<Script>(*this); }

 private:
  std::shared_ptr<const Tokens> text_;
  size_t at_ = 0;
};

// A drafter that can be told to be silent.
class Switched final : public Drafter {
 public:
  Switched(std::unique_ptr<Drafter> inner, const std::atomic<bool>& on)
      : inner_(std::move(inner)), on_(on) {}
  std::string_view name() const override { return inner_->name(); }
  DraftOutlook look(uint64_t sequence, std::span<const TokenId> history) override {
    return on_ ? inner_->look(sequence, history) : DraftOutlook{};
  }
  Status draft(std::span<const DraftTask> tasks) override { return inner_->draft(tasks); }
  void forget(uint64_t sequence) override { inner_->forget(sequence); }
  double prior(int draft_class, int position) const override {
    return inner_->prior(draft_class, position);
  }
  const StepTimes* step_times() const override { return inner_->step_times(); }

 private:
  std::unique_ptr<Drafter> inner_;
  const std::atomic<bool>& on_;
};

enum class Work { edit, prose };

Request make_request(Work work, const Instance& instance, int n_tokens, uint64_t seed) {
  const int n_vocab = instance.config().n_vocab;
  Numbers numbers(seed);
  Request request;
  request.max_tokens = n_tokens;
  request.ignore_end = true;
  request.sampling.seed = seed;
  if (work == Work::edit) {
    request.prompt = make_file(numbers, n_vocab);
    request.filter = std::make_unique<Script>(
        std::make_shared<const Tokens>(edited(request.prompt, numbers, n_vocab)));
    return request;
  }
  const Tokenizer* tokenizer = instance.tokenizer();
  if (tokenizer != nullptr) {
    if (tokenizer->bos() >= 0) request.prompt.push_back(tokenizer->bos());
    tokenizer->encode("One day", Tokenizer::Special::as_text, request.prompt);
  }
  while (request.prompt.size() < (tokenizer == nullptr ? size_t(kProsePrompt) : 1)) {
    request.prompt.push_back(TokenId(numbers.below(uint64_t(n_vocab))));
  }
  return request;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

struct Comparison {
  std::string test;
  double wanted;
  Work work;
  int n_tokens, repetitions;
};

// The same answers without and with drafts, in turns, after one that does not count.
Result<SpeculationResult> compare(const Comparison& wish, std::unique_ptr<Instance> instance,
                                  std::unique_ptr<Drafter> drafter) {
  std::atomic<bool> on = false;
  const Instance& model = *instance;
  const auto engine = Engine::start(
      std::move(instance), {.speculation = {std::make_unique<Switched>(std::move(drafter), on)}});
  SpeculationResult result{.test = wish.test, .wanted = wish.wanted};
  std::vector<double> plain, drafted, ratios;
  on = false;
  LM_TRY(answer(*engine, make_request(wish.work, model, wish.n_tokens, 1)));
  for (int run = 0; run < wish.repetitions; ++run) {
    const uint64_t seed = uint64_t(run) + 1;
    const auto ask = [&](bool drafts) {
      on = drafts;
      return answer(*engine, make_request(wish.work, model, wish.n_tokens, seed));
    };
    // Either is first as often: the machine drifts.
    BenchAnswer without, with;
    if (run % 2 == 0) with = LM_TRY(ask(true));
    without = LM_TRY(ask(false));
    if (run % 2 == 1) with = LM_TRY(ask(true));
    if (with.tokens != without.tokens) {
      return Error{ErrorCode::device,
                   concat("expected the same answer with drafts, found another in the test ",
                          wish.test, " with seed ", seed)};
    }
    plain.push_back(1 / std::max(without.timings.seconds_per_token(), 1e-9));
    drafted.push_back(1 / std::max(with.timings.seconds_per_token(), 1e-9));
    ratios.push_back(drafted.back() / plain.back());
    result.generated_tokens += with.timings.generated_tokens;
    result.drafted_tokens += with.timings.drafted_tokens;
    result.accepted_tokens += with.timings.accepted_tokens;
  }
  result.plain = median(plain);
  result.drafted = median(drafted);
  result.ratio = median(ratios);
  return result;
}

}  // namespace

Result<std::vector<SpeculationResult>> run_speculation_bench(
    const Registry& registry, const BenchOptions& options,
    const std::function<void(const SpeculationResult&)>& on_result) {
  InstanceOptions small = options.instance;
  std::optional<MemoryFile> made;
  if (options.synthetic) {
    made = LM_TRY(generate_synthetic(*options.synthetic));
    small.model_path = made->path();
  }
  const gguf::File file = LM_TRY(gguf::File::open(small.model_path));
  const int n_tokens = options.generations.empty() ? 128 : options.generations.front();
  small.n_ctx = kFileTokens + kProsePrompt + std::max(n_tokens, 1);
  small.need_tokenizer = false;
  small.backend.threads = std::make_shared<ThreadPool>(
      small.backend.n_threads > 0 ? small.backend.n_threads : usable_cores());
  InstanceOptions target = small;
  target.draft_rows = kMaxDraft;

  std::vector<SpeculationResult> results;
  const auto measure = [&](std::string test, double wanted, Work work,
                           const InstanceOptions& drafted_for,
                           const std::filesystem::path* draft) -> Status {
    auto instance = LM_TRY(Instance::open(registry, drafted_for));
    std::unique_ptr<Drafter> drafter = make_ngram_drafter();
    if (draft != nullptr) {
      small.model_path = *draft;
      drafter = LM_TRY(make_model_drafter(LM_TRY(Instance::open(registry, small)), *instance));
    }
    results.push_back(LM_TRY(compare({.test = std::move(test),
                                      .wanted = wanted,
                                      .work = work,
                                      .n_tokens = n_tokens,
                                      .repetitions = options.repetitions},
                                     std::move(instance), std::move(drafter))));
    if (on_result) on_result(results.back());
    return ok();
  };
  LM_TRY(measure("edit", 1.8, Work::edit, target, nullptr));
  LM_TRY(measure("prose", 0.98, Work::prose, target, nullptr));
  const std::filesystem::path good = small.model_path;
  const MemoryFile deep = LM_TRY(deepen(file, kTimesLarger)), other = LM_TRY(shuffle(file, 1));
  const std::filesystem::path bad = other.path();
  target.model_path = deep.path();
  LM_TRY(measure("good draft", 1.5, Work::prose, target, &good));
  LM_TRY(measure("bad draft", 0.97, Work::prose, target, &bad));
  return results;
}

Json speculation_json(const std::vector<SpeculationResult>& results) {
  Json rows = Json::array();
  for (const SpeculationResult& result : results) {
    rows.push_back({{"test", result.test},
                    {"plain_tokens_per_second", result.plain},
                    {"drafted_tokens_per_second", result.drafted},
                    {"ratio", result.ratio},
                    {"wanted_ratio", result.wanted},
                    {"generated_tokens", result.generated_tokens},
                    {"drafted_tokens", result.drafted_tokens},
                    {"accepted_tokens", result.accepted_tokens}});
  }
  return rows;
}

}  // namespace lm
