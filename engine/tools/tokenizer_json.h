// engine/tools/tokenizer_json.h — the vocabulary in a tokenizer.json (huggingface/tokenizers).
// Byte-level BPE becomes GGUF's "gpt2"; BPE over "▁" becomes "llama", whose scores are the ranks of
// the merges. What would tokenize otherwise than the file means is refused.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "engine/core/json.h"
#include "engine/core/result.h"
#include "engine/tools/hf_vocab.h"

namespace lm::hf {

// Decides the kind alone.
Result<Vocab::Kind> tokenizer_json_kind(const SortedJson& json);

// Tokens, types, merges, scores, added tokens, unk, and what the post-processor adds.
Result<Vocab> parse_tokenizer_json(const SortedJson& json, int64_t n_vocab,
                                   std::vector<std::string>& notes);

// "added_tokens" of the file.
Result<std::vector<AddedToken>> added_tokens(const SortedJson& json);

// Sets first_special and last_special from "post_processor".
void read_post_processor(const SortedJson& json, Vocab& vocab);

}  // namespace lm::hf
