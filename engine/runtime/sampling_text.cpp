#include "engine/runtime/sampling_text.h"

#include <limits>

#include "engine/core/text.h"

namespace lm {
namespace {

// An integer key: top_k and its like; -1 (all) is allowed.
Status read_int(const gguf::File& file, std::string_view key, int& into) {
  if (file.value(key) == nullptr) return ok();
  const int64_t value = LM_TRY(file.i64(key));
  if (value < -1 || value > std::numeric_limits<int>::max()) {
    return Error{ErrorCode::bad_file,
                 concat("expected ", key, " to be at least -1, found ", value)};
  }
  into = int(value);
  return ok();
}

Status read_float(const gguf::File& file, std::string_view key, float& into) {
  into = LM_TRY(file.f32_or(key, into));
  return ok();
}

}  // namespace

Result<SamplingParams> sampling_defaults(const gguf::File& file) {
  SamplingParams params;
  LM_TRY(read_float(file, "general.sampling.temp", params.temperature));
  LM_TRY(read_int(file, "general.sampling.top_k", params.top_k));
  LM_TRY(read_float(file, "general.sampling.top_p", params.top_p));
  LM_TRY(read_float(file, "general.sampling.min_p", params.min_p));
  LM_TRY(read_float(file, "general.sampling.xtc_probability", params.xtc_probability));
  LM_TRY(read_float(file, "general.sampling.xtc_threshold", params.xtc_threshold));
  LM_TRY(read_int(file, "general.sampling.penalty_last_n", params.repeat_last_n));
  LM_TRY(read_float(file, "general.sampling.penalty_repeat", params.repeat_penalty));
  LM_TRY(read_int(file, "general.sampling.mirostat", params.mirostat));
  LM_TRY(read_float(file, "general.sampling.mirostat_tau", params.mirostat_tau));
  LM_TRY(read_float(file, "general.sampling.mirostat_eta", params.mirostat_eta));
  if (params.top_k < 0) params.top_k = 0;
  const Status valid = validate(params);
  if (!valid.ok()) {
    return Error{ErrorCode::bad_file,
                 concat("general.sampling.* of the file: ", valid.error().message)};
  }
  return params;
}

std::vector<std::vector<TokenId>> dry_breaker_tokens(const Tokenizer& tokenizer,
                                                     std::span<const std::string> texts) {
  std::vector<std::vector<TokenId>> breakers;
  for (const std::string& text : texts) {
    if (text.empty()) continue;
    const size_t before = breakers.size();
    for (TokenId id = 0; id < tokenizer.size(); ++id) {
      if (tokenizer.piece(id).find(text) != std::string_view::npos) breakers.push_back({id});
    }
    if (breakers.size() > before) continue;
    std::vector<TokenId> ids;
    tokenizer.encode(text, Tokenizer::Special::as_text, ids);
    if (!ids.empty()) breakers.push_back(std::move(ids));
  }
  return breakers;
}

}  // namespace lm
