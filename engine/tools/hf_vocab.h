// engine/tools/hf_vocab.h — the vocabulary of a Hugging Face folder, as GGUF's tokenizer.ggml.*
// keys want it. Sources: the tokenizer.json of huggingface/tokenizers, SentencePiece's
// sentencepiece_model.proto, and the GGUF specification (ggml docs/gguf.md, "Tokenizer").
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/core/json.h"
#include "engine/core/result.h"
#include "engine/text/tokenizer.h"
#include "gguf/writer.h"

namespace lm::hf {

struct Vocab {
  enum class Kind : uint8_t { byte_bpe, sentencepiece };
  Kind kind = Kind::byte_bpe;
  std::string pre = "default";      // of byte_bpe: the pre-tokenizer's name
  std::vector<std::string> tokens;  // [n_vocab]; ids that no file names are "[PAD<id>]"
  std::vector<TokenType> types;     // [n_vocab]
  std::vector<float> scores;        // [n_vocab]; sentencepiece
  std::vector<std::string> merges;  // "left right", most urgent first
  bool add_space_prefix = false;    // sentencepiece: a text starts with a space
  int64_t unk = -1, bos = -1, eos = -1, eot = -1, eom = -1, pad = -1;  // -1: none
  bool add_bos = false, add_eos = false;
  std::string chat_template;                                         // empty: none
  std::vector<std::pair<std::string, std::string>> named_templates;  // name, template
  // What the post-processor of tokenizer.json puts around a text.
  std::string first_special, last_special;
};

// A token that stands beside the model's own vocabulary.
struct AddedToken {
  int64_t id = 0;
  std::string text;
  bool special = false;
};

// An empty vocabulary of n_vocab unused tokens.
Vocab unused_vocab(int64_t n_vocab);

// "▁" as the space it stands for. GGUF's user-defined tokens are matched before spaces are
// replaced.
std::string with_spaces(std::string_view text);

// Puts the token where its id says. Ids beyond n_vocab have no embedding: they are left out, and
// `notes` says so.
void add_token(Vocab& vocab, const AddedToken& token, std::vector<std::string>& notes);

// Reads what the folder has: tokenizer.json, tokenizer.model, tokenizer_config.json,
// special_tokens_map.json, generation_config.json, chat_template.jinja, ... `config` is
// config.json.
Result<Vocab> read_vocab(const std::filesystem::path& folder, const SortedJson& config,
                         int64_t n_vocab, std::vector<std::string>& notes);

void write_vocab(const Vocab& vocab, gguf::Writer& writer);

}  // namespace lm::hf
