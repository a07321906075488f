// engine/tools/sentencepiece_model.h — the vocabulary in a tokenizer.model: a protocol buffer of
// which four dozen bytes of schema matter (google/sentencepiece, sentencepiece_model.proto).
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/core/result.h"
#include "engine/tools/hf_vocab.h"

namespace lm::hf {

// Tokens, scores, types, special ids and the space prefix.
Result<Vocab> parse_sentencepiece(std::span<const std::byte> bytes, int64_t n_vocab,
                                  std::vector<std::string>& notes);

}  // namespace lm::hf
