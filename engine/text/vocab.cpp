#include "engine/text/vocab.h"

#include <string_view>

#include "engine/core/text.h"

namespace lm {
namespace {

std::string key(std::string_view name) {
  return concat("tokenizer.ggml.", name);
}

Result<Vocab::Kind> read_kind(const gguf::File& file) {
  const std::string_view model = LM_TRY(file.str_or(key("model"), "none"));
  if (model == "llama") return Vocab::Kind::sentencepiece;
  if (model == "gpt2") return Vocab::Kind::byte_bpe;
  if (model == "none" || model == "no_vocab") {
    return Error{ErrorCode::unsupported, "the file has no vocabulary (tokenizer.ggml.model)"};
  }
  return Error{ErrorCode::unsupported,
               concat("tokenizer.ggml.model is \"", printable(model),
                      "\"; supported are \"llama\" (SentencePiece) and \"gpt2\" (byte-level BPE)")};
}

// 2^32 - 1 and -1 are how files say "none".
Result<TokenId> read_id(const gguf::File& file, std::string_view name, TokenId absent,
                        size_t n_tokens) {
  if (file.value(key(name)) == nullptr) return absent;
  const int64_t id = LM_TRY(file.i64(key(name)));
  if (id == -1 || id == int64_t{UINT32_MAX}) return -1;
  if (id < 0 || static_cast<uint64_t>(id) >= n_tokens) {
    return Error{
        ErrorCode::bad_file,
        concat(key(name), " is ", id, ", but the vocabulary has only ", n_tokens, " tokens")};
  }
  return static_cast<TokenId>(id);
}

Status read_ids(const gguf::File& file, Vocab& vocab) {
  const size_t n = vocab.tokens.size();
  // Old SentencePiece files name none of these; Llama's are then meant.
  const auto usual = [&](TokenId id, TokenType type) {
    const auto i = static_cast<size_t>(id);
    const bool there = vocab.kind == Vocab::Kind::sentencepiece && i < vocab.types.size() &&
                       i < n && vocab.types[i] == type;
    return there ? id : -1;
  };
  vocab.unk = LM_TRY(read_id(file, "unknown_token_id", usual(0, TokenType::unknown), n));
  vocab.bos = LM_TRY(read_id(file, "bos_token_id", usual(1, TokenType::control), n));
  vocab.eos = LM_TRY(read_id(file, "eos_token_id", usual(2, TokenType::control), n));
  vocab.eot = LM_TRY(read_id(file, "eot_token_id", -1, n));
  vocab.eom = LM_TRY(read_id(file, "eom_token_id", -1, n));
  return ok();
}

Status read_types(const gguf::File& file, Vocab& vocab) {
  if (file.value(key("token_type")) == nullptr) return ok();
  const std::vector<int32_t> types = LM_TRY(file.i32s(key("token_type")));
  vocab.types.reserve(types.size());
  for (const int32_t type : types) {
    const bool known = type >= 0 && type <= static_cast<int32_t>(TokenType::byte);
    vocab.types.push_back(known ? static_cast<TokenType>(type) : TokenType::undefined);
  }
  return ok();
}

Result<std::vector<std::string>> read_strings(const gguf::File& file, std::string_view name) {
  const std::vector<std::string_view> views = LM_TRY(file.strs(key(name)));
  return std::vector<std::string>(views.begin(), views.end());
}

}  // namespace

Result<Vocab> read_vocab(const gguf::File& file) {
  Vocab vocab;
  vocab.kind = LM_TRY(read_kind(file));
  vocab.tokens = LM_TRY(read_strings(file, "tokens"));
  LM_TRY(read_types(file, vocab));
  LM_TRY(read_ids(file, vocab));
  if (file.value(key("scores")) != nullptr) vocab.scores = LM_TRY(file.f32s(key("scores")));
  if (file.value(key("merges")) != nullptr) vocab.merges = LM_TRY(read_strings(file, "merges"));
  if (vocab.kind == Vocab::Kind::byte_bpe) {
    vocab.pre = std::string(LM_TRY(file.str_or(key("pre"), "")));
  }
  if (file.value(key("add_bos_token")) != nullptr) {
    vocab.add_bos = LM_TRY(file.boolean(key("add_bos_token")));
  }
  vocab.add_eos = LM_TRY(file.boolean_or(key("add_eos_token"), false));
  vocab.add_space_prefix = LM_TRY(file.boolean_or(key("add_space_prefix"), true));
  vocab.special_eats_space = vocab.kind == Vocab::Kind::sentencepiece &&
                             LM_TRY(file.str_or("general.architecture", "")) == "phi3";
  return vocab;
}

}  // namespace lm
