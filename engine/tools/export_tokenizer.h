// engine/tools/export_tokenizer.h — the vocabulary of a GGUF as the files that Hugging Face reads:
// tokenizer.json of a byte-level vocabulary, tokenizer.model of SentencePiece's, and what goes
// beside them. Sources: huggingface/tokenizers (the JSON of its components), SentencePiece's
// sentencepiece_model.proto, protobuf.dev "Encoding".
#pragma once
#include <string>
#include <vector>

#include "engine/core/result.h"
#include "gguf/file.h"

namespace lm::hf {

struct TokenizerFile {
  std::string name, text;
};

// Empty, with a note, where the file has no vocabulary or one that those files can't say.
Result<std::vector<TokenizerFile>> export_tokenizer(const gguf::File& file,
                                                    std::vector<std::string>& notes);

}  // namespace lm::hf
