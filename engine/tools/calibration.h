// engine/tools/calibration.h — a text as the sequences that a model is watched with while it is
// quantized.
#pragma once
#include <string_view>
#include <vector>

#include "engine/core/result.h"
#include "engine/core/token.h"
#include "gguf/file.h"

namespace lm {

struct Calibration {
  int n_ctx = 0;                                // tokens of a sequence
  std::vector<std::vector<TokenId>> sequences;  // n_ctx each, with BOS where the model wants it
  uint64_t n_tokens() const { return sequences.size() * uint64_t(n_ctx); }
};

// Sequences of n_ctx tokens (at most the trained context), spread evenly over the text where it has
// more than max_sequences. bad_request: not even one sequence.
Result<Calibration> make_calibration(const gguf::File& file, std::string_view text, int n_ctx,
                                     int max_sequences);

}  // namespace lm
