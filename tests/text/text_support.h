// tests/text/text_support.h — what the tests of engine/text share.
#pragma once
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/tokenizer.h"
#include "tests/support/support.h"

namespace lm::test {

std::unique_ptr<Tokenizer> open_tokenizer(const std::filesystem::path& gguf);

std::vector<TokenId> encode(const Tokenizer& tokenizer, std::string_view text,
                            Tokenizer::Special special = Tokenizer::Special::as_text);

// The spellings of the ids of `text`, joined by '|'.
std::string cut(const Tokenizer& tokenizer, std::string_view text,
                Tokenizer::Special special = Tokenizer::Special::as_text);

// A byte-level vocabulary: the 256 bytes, then the results of `merges` ("Ġ t"), then `control`.
Vocab byte_vocab(std::vector<std::string> merges, std::vector<std::string> control = {});

// A SentencePiece vocabulary: <unk> <s> </s>, the byte tokens if asked for, then `pieces`, whose
// scores fall with their position.
Vocab spm_vocab(std::vector<std::string> pieces, bool with_bytes);

std::string random_bytes(Random& random, size_t n);
// Characters of every UTF-8 length, spaces, digits, punctuation, combining marks, emoji.
std::string random_text(Random& random, size_t n_chars);

}  // namespace lm::test
