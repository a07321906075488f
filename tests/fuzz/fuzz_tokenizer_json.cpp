// Reads any bytes as a tokenizer.json, or, when they don't start with '{', as a tokenizer.model.
// What is accepted becomes a GGUF, is opened again, and cuts a text.
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/check.h"
#include "engine/core/json.h"
#include "engine/text/tokenizer.h"
#include "engine/tools/hf_vocab.h"
#include "engine/tools/sentencepiece_model.h"
#include "engine/tools/tokenizer_json.h"
#include "gguf/file.h"
#include "gguf/writer.h"

namespace lm::hf {
namespace {

constexpr int64_t kVocab = 64;

Result<Vocab> read_any(std::string_view text) {
  std::vector<std::string> notes;
  if (text.empty() || text[0] != '{')
    return parse_sentencepiece(std::as_bytes(std::span(text)), kVocab, notes);
  return parse_tokenizer_json(LM_TRY(parse_sorted_json(text)), kVocab, notes);
}

void use(const Vocab& vocab) {
  LM_CHECK(vocab.tokens.size() == size_t(kVocab) && vocab.types.size() == size_t(kVocab));
  LM_CHECK(vocab.scores.empty() || vocab.scores.size() == size_t(kVocab));
  gguf::Writer writer;
  writer.set_str("general.architecture", "llama");
  write_vocab(vocab, writer);
  const auto bytes = writer.to_bytes([](size_t, const gguf::Writer::Sink&) { return ok(); });
  LM_CHECK(bytes.ok());
  const auto file = gguf::File::parse(bytes.value());
  LM_CHECK(file.ok());
  const auto tokenizer = Tokenizer::from_gguf(file.value());
  if (!tokenizer.ok()) return;  // e.g. tokens longer than it takes
  std::vector<TokenId> ids;
  tokenizer.value()->encode("ab a  ab\n12a<think><|end|>\xff", Tokenizer::Special::parse, ids);
  for (const TokenId id : ids) LM_CHECK(id >= 0 && id < kVocab);
  (void)tokenizer.value()->decode(ids);
}

}  // namespace
}  // namespace lm::hf

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto vocab = lm::hf::read_any(std::string_view(reinterpret_cast<const char*>(data), size));
  if (vocab.ok()) lm::hf::use(vocab.value());
  return 0;
}
