#include "engine/runtime/request.h"

#include "engine/core/text.h"
#include "engine/core/utf8.h"

namespace lm {
namespace {

// What a request may ask of the text of every token.
constexpr size_t kMaxStops = 64, kMaxStopBytes = 4096;
constexpr int kMaxAlternatives = 100;

Error bad_request(std::string message) {
  return {ErrorCode::bad_request, std::move(message)};
}

Status check_token(std::string_view where, TokenId id, int n_vocab) {
  if (id >= 0 && id < n_vocab) return ok();
  return bad_request(concat("expected a token id below ", n_vocab, " in ", where, ", found ", id));
}

Status check_stops(const std::vector<std::string>& stops) {
  if (stops.size() > kMaxStops) {
    return bad_request(concat("expected at most ", kMaxStops, " stop texts, found ", stops.size()));
  }
  for (const std::string& stop : stops) {
    if (stop.empty() || stop.size() > kMaxStopBytes || !utf8::is_valid(stop)) {
      return bad_request(concat("expected stop texts of 1 to ", kMaxStopBytes,
                                " bytes of UTF-8, found \"", printable(stop), "\""));
    }
  }
  return ok();
}

}  // namespace

double Timings::seconds_per_token() const {
  return generated_tokens > 1 ? generate_seconds / (generated_tokens - 1) : 0;
}

double Timings::bytes_per_second() const {
  return generate_seconds > 0 ? double(step_bytes) * generate_steps / generate_seconds : 0;
}

Status check_request(const Request& request, const Instance& instance) {
  const int n_vocab = instance.config().n_vocab;
  if (request.prompt.empty()) return bad_request("expected a prompt, found no token");
  const bool shifts = request.overflow == Overflow::shift && instance.n_ctx() >= kLeastShifted;
  if (request.prompt.size() >= size_t(instance.n_ctx()) && !shifts) {
    return Error{ErrorCode::context_full,
                 concat("expected a prompt shorter than the context of ", instance.n_ctx(),
                        " tokens, found ", request.prompt.size())};
  }
  for (const TokenId id : request.prompt) LM_TRY(check_token("the prompt", id, n_vocab));
  LM_TRY(validate(request.sampling));
  for (const auto& [id, bias] : request.sampling.logit_bias) {
    LM_TRY(check_token("logit_bias", id, n_vocab));
  }
  if (request.max_tokens < -1) {
    return bad_request(
        concat("expected a number of tokens of at least -1, found ", request.max_tokens));
  }
  if (request.n_samples < 1 || request.n_samples > kMaxSamples) {
    return bad_request(
        concat("expected 1 to ", kMaxSamples, " samples, found ", request.n_samples));
  }
  if (request.n_alternatives < 0 || request.n_alternatives > kMaxAlternatives) {
    return bad_request(concat("expected 0 to ", kMaxAlternatives, " alternatives, found ",
                              request.n_alternatives));
  }
  return check_stops(request.stop);
}

std::string_view finish_name(Finish finish) {
  switch (finish) {
    case Finish::none:
      return "none";
    case Finish::stop:
      return "stop";
    case Finish::length:
      return "length";
    case Finish::cancelled:
      return "cancelled";
    case Finish::error:
      return "error";
  }
  return "unknown";
}

}  // namespace lm
