// engine/text/pretokenizer_table.h — the pre-tokenizers that GGUF files name, as data.
#pragma once
#include <span>
#include <string_view>

namespace lm {

struct PretokenizerRow {
  std::string_view name;                     // tokenizer.ggml.pre
  std::span<const std::string_view> stages;  // regular expressions, applied one after the other
  bool ignores_merges = false;
  bool adds_bos = false;
};

std::span<const PretokenizerRow> pretokenizer_rows();

}  // namespace lm
