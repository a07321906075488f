// engine/runtime/sampling_text.h — what of a request's sampling comes from a model file: the
// defaults that its makers recommend, and DRY's sequence breakers in its tokens.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "engine/core/result.h"
#include "engine/core/token.h"
#include "engine/sample/sampler.h"
#include "engine/text/tokenizer.h"
#include "gguf/file.h"

namespace lm {

// Ours, changed by the file's general.sampling.* keys. bad_file when one is out of its range.
Result<SamplingParams> sampling_defaults(const gguf::File& file);

// Every token that contains one of the texts is a breaker; a text that no token contains breaks as
// the sequence of its tokens.
std::vector<std::vector<TokenId>> dry_breaker_tokens(const Tokenizer& tokenizer,
                                                     std::span<const std::string> texts);

}  // namespace lm
