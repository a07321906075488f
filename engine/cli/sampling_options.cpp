#include "engine/cli/sampling_options.h"

#include <algorithm>
#include <limits>
#include <random>
#include <variant>

#include "engine/core/text.h"
#include "engine/runtime/sampling_text.h"

namespace lm::cli {
namespace {

constexpr double kMaxPenalty = 1000;
constexpr int kMaxTokens = 1 << 24;
constexpr size_t kMaxRepeats = 1024;  // uses of a repeatable option

using P = SamplingParams;

struct Row {
  std::string_view name;
  std::variant<float P::*, int P::*> member;
  double least, most;
  std::string_view help;
};

constexpr Row kRows[] = {
    {"temp", &P::temperature, 0, 100, "temperature; 0 takes the likeliest token"},
    {"top-k", &P::top_k, 0, kMaxTokens, "only the N likeliest tokens; 0: all"},
    {"top-p", &P::top_p, 0, 1, "only the likeliest tokens that sum to X; 1: off"},
    {"min-p", &P::min_p, 0, 1, "only tokens at least X times as likely as the likeliest"},
    {"typical", &P::typical_p, 0, 1, "locally typical tokens that sum to X; 1: off"},
    {"repeat-penalty", &P::repeat_penalty, 0.01, kMaxPenalty,
     "divide the score of repeated tokens by X; 1: off"},
    {"presence-penalty", &P::presence_penalty, -kMaxPenalty, kMaxPenalty,
     "subtract X from the score of tokens that occurred"},
    {"frequency-penalty", &P::frequency_penalty, -kMaxPenalty, kMaxPenalty,
     "subtract X for each time that a token occurred"},
    {"repeat-last-n", &P::repeat_last_n, -1, kMaxTokens,
     "tokens that the penalties look back; -1: all"},
    {"dry-multiplier", &P::dry_multiplier, 0, kMaxPenalty,
     "DRY, against repeated phrases: its strength; 0: off"},
    {"dry-base", &P::dry_base, 1, kMaxPenalty, "DRY: growth with the phrase's length"},
    {"dry-allowed-length", &P::dry_allowed_length, 0, kMaxTokens,
     "DRY: phrases up to this length are free"},
    {"dry-last-n", &P::dry_last_n, -1, kMaxTokens, "DRY: tokens to look back; -1: all"},
    {"xtc-probability", &P::xtc_probability, 0, 1,
     "XTC: chance to leave out the likeliest tokens; 0: off"},
    {"xtc-threshold", &P::xtc_threshold, 0, 1, "XTC: how likely those are at least"},
    {"mirostat", &P::mirostat, 0, 2,
     "2: mirostat 2 instead of top-k, top-p, min-p and typical; 0: off"},
    {"mirostat-tau", &P::mirostat_tau, 0, 100, "mirostat: the surprise to hold, in bits"},
    {"mirostat-eta", &P::mirostat_eta, 0, 1, "mirostat: how fast it learns"},
};

std::string value_text(const Row& row, const SamplingParams& params) {
  return std::visit([&](auto member) { return concat(params.*member); }, row.member);
}

// The number in `text` as a change.
Result<std::function<void(SamplingParams&)>> parse_change(const Row& row, std::string_view text) {
  if (const auto* member = std::get_if<int P::*>(&row.member)) {
    const int value = int(LM_TRY(integer_in(text, int64_t(row.least), int64_t(row.most))));
    return std::function([member, value](SamplingParams& params) { params.** member = value; });
  }
  const auto* member = std::get_if<float P::*>(&row.member);
  const auto value = float(LM_TRY(number_in(text, row.least, row.most)));
  return std::function([member, value](SamplingParams& params) { params.** member = value; });
}

const Row* find_row(std::string_view name) {
  const auto* const row = std::ranges::find(kRows, name, &Row::name);
  return row == std::end(kRows) ? nullptr : row;
}

Status check_count(size_t n_before) {
  if (n_before < kMaxRepeats) return ok();
  return Error{ErrorCode::bad_request, concat("expected at most ", kMaxRepeats, " of them")};
}

// "15=-2.5" or "15=-inf".
Result<std::pair<TokenId, float>> parse_bias(std::string_view word) {
  const size_t equals = word.find('=');
  if (equals == std::string_view::npos) {
    return Error{ErrorCode::bad_request,
                 concat("expected ID=BIAS, like 15=-2.5, found \"", printable(word), "\"")};
  }
  const int64_t id =
      LM_TRY(integer_in(word.substr(0, equals), 0, std::numeric_limits<TokenId>::max()));
  const std::string_view bias = word.substr(equals + 1);
  if (bias == "-inf") return std::pair(TokenId(id), -std::numeric_limits<float>::infinity());
  return std::pair(TokenId(id), float(LM_TRY(number_in(bias, -1e6, 1e6))));
}

// Short enough to type again.
uint64_t random_seed() {
  return std::random_device()();
}

}  // namespace

void SamplingOptions::declare(Options& options) {
  options.group("Sampling (what the model's file recommends comes before these defaults)");
  declare_seed(options);
  for (const Row& row : kRows) {
    options.value(
        concat("--", row.name), std::holds_alternative<int P::*>(row.member) ? "N" : "X",
        [this, &row](std::string_view word) -> Status {
          changes_.push_back(LM_TRY(parse_change(row, word)));
          return ok();
        },
        concat(row.help, " (default: ", value_text(row, {}), ")"));
    options.setting();
  }
  declare_lists(options);
}

void SamplingOptions::declare_seed(Options& options) {
  options.value(
      "--seed", "N",
      [this](std::string_view word) -> Status {
        const int64_t seed = LM_TRY(integer_in(word, -1, std::numeric_limits<int64_t>::max()));
        seed_ = seed < 0 ? std::nullopt : std::optional(uint64_t(seed));
        return ok();
      },
      "the same seed gives the same answer (-1, the default: a random one, see --json)");
  options.setting();
}

void SamplingOptions::declare_lists(Options& options) {
  options.each(
      "--dry-breaker", "TEXT",
      [this](std::string_view word) -> Status {
        LM_TRY(check_count(dry_breakers_.size()));
        dry_breakers_.emplace_back(word);
        return ok();
      },
      "DRY: phrases do not reach across TEXT (newline : \" *); repeatable");
  options.setting();
  options.each(
      "--logit-bias", "ID=X",
      [this](std::string_view word) -> Status {
        LM_TRY(check_count(biases_.size()));
        biases_.push_back(LM_TRY(parse_bias(word)));
        return ok();
      },
      "add X to the score of token ID; -inf forbids it; repeatable");
  options.setting();
}

SamplingParams SamplingOptions::changed(SamplingParams params) const {
  for (const Change& change : changes_) change(params);
  params.logit_bias.insert(params.logit_bias.end(), biases_.begin(), biases_.end());
  return params;
}

Status SamplingOptions::check() const {
  return validate(changed({}));
}

Result<SamplingParams> SamplingOptions::resolve(SamplingParams defaults,
                                                const Tokenizer& tokenizer) const {
  SamplingParams params = changed(std::move(defaults));
  if (params.dry_multiplier > 0) {
    const std::vector<std::string> usual{"\n", ":", "\"", "*"};
    params.dry_breakers =
        dry_breaker_tokens(tokenizer, dry_breakers_.empty() ? usual : dry_breakers_);
  }
  params.seed = seed_ ? *seed_ : random_seed();
  LM_TRY(validate(params));
  return params;
}

std::vector<std::string_view> sampling_names() {
  std::vector<std::string_view> names;
  for (const Row& row : kRows) names.push_back(row.name);
  return names;
}

std::optional<std::string> sampling_value(const SamplingParams& params, std::string_view name) {
  const Row* row = find_row(name);
  return row == nullptr ? std::nullopt : std::optional(value_text(*row, params));
}

Status set_sampling(SamplingParams& params, std::string_view name, std::string_view value) {
  const Row* row = find_row(name);
  if (row == nullptr) {
    return Error{ErrorCode::bad_request,
                 concat("expected a name that /set lists, found \"", printable(name), "\"")};
  }
  SamplingParams changed = params;
  LM_TRY(parse_change(*row, value))(changed);
  LM_TRY(validate(changed));
  params = std::move(changed);
  return ok();
}

}  // namespace lm::cli
