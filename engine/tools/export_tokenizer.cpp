#include "engine/tools/export_tokenizer.h"

#include <algorithm>
#include <bit>

#include "engine/core/json.h"
#include "engine/core/text.h"
#include "engine/core/utf8.h"
#include "engine/text/pretokenizer_table.h"
#include "engine/text/tokenizer.h"

namespace lm::hf {
namespace {

std::string key(std::string_view name) {
  return concat("tokenizer.ggml.", name);
}

// The fields of a protobuf message, one after the other.
class Message {
 public:
  void number(uint32_t field, int64_t value) {  // negative: as 64 bits, as the encoding says
    varint(uint64_t(field) << 3);
    varint(uint64_t(value));
  }
  void real(uint32_t field, float value) {
    varint(uint64_t(field) << 3 | 5);
    const auto bits = std::bit_cast<uint32_t>(value);
    for (int i = 0; i < 4; ++i) text_.push_back(char(bits >> (8 * i)));
  }
  void bytes(uint32_t field, std::string_view value) {
    varint(uint64_t(field) << 3 | 2);
    varint(value.size());
    text_ += value;
  }
  const std::string& text() const { return text_; }

 private:
  void varint(uint64_t value) {
    for (; value >= 128; value >>= 7) text_.push_back(char(value | 128));
    text_.push_back(char(value));
  }
  std::string text_;
};

struct Tokens {
  std::vector<std::string_view> texts;
  std::vector<TokenType> types;

  std::string_view text(int64_t id) const {
    return id >= 0 && size_t(id) < texts.size() ? texts[size_t(id)] : std::string_view();
  }
};

Result<Tokens> read_tokens(const gguf::File& file) {
  Tokens tokens{LM_TRY(file.strs(key("tokens"))), {}};
  tokens.types.assign(tokens.texts.size(), TokenType::normal);
  if (file.value(key("token_type")) == nullptr) return tokens;
  const std::vector<int32_t> types = LM_TRY(file.i32s(key("token_type")));
  for (size_t i = 0; i < std::min(types.size(), tokens.types.size()); ++i) {
    const bool known = types[i] >= 0 && types[i] <= int32_t(TokenType::byte);
    if (known) tokens.types[i] = TokenType(types[i]);
  }
  return tokens;
}

Result<int64_t> special_id(const gguf::File& file, std::string_view name) {
  const std::string id = concat(key(name), "_token_id");
  return file.value(id) == nullptr ? int64_t{-1} : LM_TRY(file.i64(id));
}

// tokenizer_config.json: the special tokens, the flags and the chat template.
Result<std::string> tokenizer_config(const gguf::File& file, const Tokens& tokens, bool bytes) {
  Json json = {{"tokenizer_class", bytes ? "PreTrainedTokenizerFast" : "LlamaTokenizer"},
               {"clean_up_tokenization_spaces", false}};
  constexpr std::pair<std::string_view, std::string_view> kNames[] = {{"bos", "bos_token"},
                                                                      {"eos", "eos_token"},
                                                                      {"unknown", "unk_token"},
                                                                      {"padding", "pad_token"}};
  for (const auto& [name, hf] : kNames) {
    const std::string_view text = tokens.text(LM_TRY(special_id(file, name)));
    if (!text.empty()) json[std::string(hf)] = text;
  }
  for (const char* flag : {"add_bos_token", "add_eos_token"}) {
    if (file.value(key(flag)) != nullptr) json[flag] = LM_TRY(file.boolean(key(flag)));
  }
  const std::string_view chat = LM_TRY(file.str_or("tokenizer.chat_template", ""));
  if (!chat.empty()) json["chat_template"] = chat;
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

// "▁" for the spaces of a user-defined token, as SentencePiece keeps them.
std::string with_marks(std::string_view text) {
  std::string out;
  for (const char c : text) out += c == ' ' ? std::string("▁") : std::string(1, c);
  return out;
}

Result<std::string> sentencepiece_model(const gguf::File& file, const Tokens& tokens) {
  std::vector<float> scores(tokens.texts.size(), 0.0f);
  if (file.value(key("scores")) != nullptr) {
    const std::vector<float> given = LM_TRY(file.f32s(key("scores")));
    std::copy_n(given.begin(), std::min(given.size(), scores.size()), scores.begin());
  }
  Message model;
  for (size_t i = 0; i < tokens.texts.size(); ++i) {
    Message piece;
    const bool user = tokens.types[i] == TokenType::user_defined;
    piece.bytes(1, user ? with_marks(tokens.texts[i]) : std::string(tokens.texts[i]));
    piece.real(2, scores[i]);
    piece.number(3, std::max(int64_t{1}, int64_t(tokens.types[i])));
    model.bytes(1, piece.text());
  }
  constexpr int64_t kBpe = 2;
  Message trainer, normalizer;
  trainer.number(3, kBpe);
  trainer.number(35,
                 std::ranges::find(tokens.types, TokenType::byte) != tokens.types.end() ? 1 : 0);
  trainer.number(40, LM_TRY(special_id(file, "unknown")));
  trainer.number(41, LM_TRY(special_id(file, "bos")));
  trainer.number(42, LM_TRY(special_id(file, "eos")));
  trainer.number(43, LM_TRY(special_id(file, "padding")));
  model.bytes(2, trainer.text());
  normalizer.bytes(1, "identity");
  normalizer.number(3, LM_TRY(file.boolean_or(key("add_space_prefix"), true)) ? 1 : 0);
  normalizer.number(4, 0);
  model.bytes(3, normalizer.text());
  return model.text();
}

Json byte_level(bool use_regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", true},
          {"use_regex", use_regex}};
}

Json split_steps(const PretokenizerRow& row) {
  Json steps = Json::array();
  for (const std::string_view regex : row.stages) {
    steps.push_back({{"type", "Split"},
                     {"pattern", {{"Regex", regex}}},
                     {"behavior", "Isolated"},
                     {"invert", false}});
  }
  steps.push_back(byte_level(false));
  return {{"type", "Sequence"}, {"pretokenizers", std::move(steps)}};
}

Result<std::string> tokenizer_json(const gguf::File& file, const Tokens& tokens,
                                   const PretokenizerRow& row) {
  Json vocab = Json::object(), added = Json::array();
  for (size_t i = 0; i < tokens.texts.size(); ++i) {
    const TokenType type = tokens.types[i];
    if (type == TokenType::unused) continue;
    if (type != TokenType::control && type != TokenType::user_defined) {
      // (Json::operator[] searches all keys of its object; push_back of a pair does not.)
      vocab.get_ref<Json::object_t&>().push_back({std::string(tokens.texts[i]), i});
      continue;
    }
    added.push_back({{"id", i},
                     {"content", tokens.texts[i]},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", type == TokenType::control}});
  }
  Json json = {{"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr}};
  json["added_tokens"] = std::move(added);
  json["normalizer"] = nullptr;
  json["pre_tokenizer"] = split_steps(row);
  json["post_processor"] = byte_level(true);
  json["decoder"] = byte_level(true);
  json["model"] = {{"type", "BPE"},
                   {"dropout", nullptr},
                   {"unk_token", nullptr},
                   {"continuing_subword_prefix", nullptr},
                   {"end_of_word_suffix", nullptr},
                   {"fuse_unk", false},
                   {"byte_fallback", false},
                   {"ignore_merges", row.ignores_merges}};
  json["model"]["vocab"] = std::move(vocab);
  json["model"]["merges"] = LM_TRY(file.strs(key("merges")));
  return dump_json(json);
}

}  // namespace

Result<std::vector<TokenizerFile>> export_tokenizer(const gguf::File& file,
                                                    std::vector<std::string>& notes) {
  const std::string_view model = LM_TRY(file.str_or(key("model"), ""));
  const auto none = [&](std::string why) {
    notes.push_back(concat("no tokenizer files: ", why));
    return std::vector<TokenizerFile>();
  };
  if (model.empty()) return none("the file has no vocabulary");
  const bool bytes = model == "gpt2";
  if (!bytes && model != "llama") return none(concat("of kind ", printable(model)));
  const Tokens tokens = LM_TRY(read_tokens(file));
  const auto is_text = [](std::string_view text) { return utf8::is_valid(text); };
  if (!std::ranges::all_of(tokens.texts, is_text)) return none("some tokens are no UTF-8");
  std::vector<TokenizerFile> files;
  if (bytes) {
    const std::string_view pre = LM_TRY(file.str_or(key("pre"), "default"));
    const auto rows = pretokenizer_rows();
    const auto row = std::ranges::find(rows, pre, &PretokenizerRow::name);
    if (row == rows.end()) return none(concat("unknown pre-tokenizer ", printable(pre)));
    files.push_back({"tokenizer.json", LM_TRY(tokenizer_json(file, tokens, *row))});
  } else {
    files.push_back({"tokenizer.model", LM_TRY(sentencepiece_model(file, tokens))});
  }
  files.push_back({"tokenizer_config.json", LM_TRY(tokenizer_config(file, tokens, bytes))});
  return files;
}

}  // namespace lm::hf
