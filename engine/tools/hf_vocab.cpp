#include "engine/tools/hf_vocab.h"

#include <algorithm>
#include <system_error>
#include <unordered_map>

#include "engine/core/file.h"
#include "engine/core/text.h"
#include "engine/tools/hf_json.h"
#include "engine/tools/sentencepiece_model.h"
#include "engine/tools/tokenizer_json.h"

namespace lm::hf {
namespace {

constexpr uint64_t kMaxTokenizerBytes = 128 << 20;  // Gemma 3's is 33 MB
constexpr uint64_t kMaxSmallFileBytes = 16 << 20;

// Some models mark as ordinary what their templates use as control tokens; the field's converters
// tell them by their looks.
bool looks_special(std::string_view text) {
  return text == "<pad>" || text == "<mask>" || (text.starts_with("<|") && text.ends_with("|>")) ||
         (text.starts_with("<｜") && text.ends_with("｜>")) ||
         (text.starts_with("<unused") && text.ends_with(">"));
}

// The JSON files beside the tokenizer, parsed; null where absent.
struct SideFiles {
  SortedJson tokenizer_config, special_tokens_map, generation_config, added_tokens,
      processor_template;
};

Result<SideFiles> read_side_files(const std::filesystem::path& folder) {
  SideFiles files;
  files.tokenizer_config = LM_TRY(read_json(folder / "tokenizer_config.json", kMaxSmallFileBytes));
  files.special_tokens_map =
      LM_TRY(read_json(folder / "special_tokens_map.json", kMaxSmallFileBytes));
  files.generation_config =
      LM_TRY(read_json(folder / "generation_config.json", kMaxSmallFileBytes));
  files.added_tokens = LM_TRY(read_json(folder / "added_tokens.json", kMaxSmallFileBytes));
  files.processor_template = LM_TRY(read_json(folder / "chat_template.json", kMaxSmallFileBytes));
  return files;
}

// Tokens that only the older files list.
Status add_listed_tokens(const SideFiles& files, Vocab& vocab, std::vector<std::string>& notes) {
  const auto add = [&](std::string_view file, int64_t id, std::string_view text,
                       bool special) -> Status {
    if (id < 0 || id > INT32_MAX || text.empty()) {
      return Error{ErrorCode::bad_file,
                   concat(file, ": expected tokens with ids, found ", printable(text, 40))};
    }
    add_token(vocab, {.id = id, .text = std::string(text), .special = special}, notes);
    return ok();
  };
  if (files.added_tokens.is_object()) {
    for (auto it = files.added_tokens.begin(); it != files.added_tokens.end(); ++it) {
      const int64_t id = it.value().is_number_integer() ? it.value().get<int64_t>() : -1;
      LM_TRY(add("added_tokens.json", id, it.key(), false));
    }
  }
  const Object root(&files.tokenizer_config, "tokenizer_config.json");
  const SortedJson* listed = root.find("added_tokens_decoder");
  if (listed == nullptr || !listed->is_object()) return ok();
  for (auto it = listed->begin(); it != listed->end(); ++it) {
    const Object token(&it.value(), root.file());
    LM_TRY(add(root.file(), parse_int(it.key()).value_or(-1), LM_TRY(token.str("content", "")),
               LM_TRY(token.boolean("special", false))));
  }
  return ok();
}

// "<s>", or {"content": "<s>", ...}; empty when the key is absent.
std::string token_text(const SortedJson& file, std::string_view key) {
  const SortedJson* value = Object(&file, "").find(key);
  if (value != nullptr && value->is_object()) value = Object(value, "").find("content");
  return value != nullptr && value->is_string() ? value->get<std::string>() : std::string();
}

// One id, or a list of them.
std::vector<int64_t> ids_of(const SortedJson& file, std::string_view key) {
  std::vector<int64_t> ids;
  const SortedJson* value = Object(&file, "").find(key);
  if (value == nullptr) return ids;
  const auto add = [&](const SortedJson& id) {
    if (id.is_number_integer()) ids.push_back(id.get<int64_t>());
  };
  if (!value->is_array()) add(*value);
  if (value->is_array()) std::ranges::for_each(*value, add);
  return ids;
}

// The texts that tokenizer_config.json and its kind name, then the ids of the model's own files.
class SpecialIds {
 public:
  SpecialIds(const SideFiles& files, const SortedJson& config, const Vocab& vocab)
      : files_(files), config_(config) {
    n_vocab_ = int64_t(vocab.tokens.size());
    for (size_t i = 0; i < vocab.tokens.size(); ++i) ids_.emplace(vocab.tokens[i], int64_t(i));
  }

  int64_t find(std::string_view name, int64_t fallback) const {
    const std::string token = concat(name, "_token"), id = concat(name, "_token_id");
    for (const SortedJson* file : {&files_.tokenizer_config, &files_.special_tokens_map}) {
      const auto it = ids_.find(token_text(*file, token));
      if (it != ids_.end()) return it->second;
    }
    for (const SortedJson* file : {&files_.generation_config, &config_}) {
      for (const int64_t candidate : ids_of(*file, id)) {
        if (known(candidate)) return candidate;
      }
    }
    return fallback;
  }

  // Where a model stops, beside `eos`.
  std::vector<int64_t> other_ends(int64_t eos) const {
    std::vector<int64_t> ends;
    for (const SortedJson* file : {&files_.generation_config, &config_}) {
      for (const int64_t id : ids_of(*file, "eos_token_id")) {
        if (known(id) && id != eos && std::ranges::find(ends, id) == ends.end()) ends.push_back(id);
      }
    }
    return ends;
  }

 private:
  bool known(int64_t id) const { return id >= 0 && id < n_vocab_; }

  const SideFiles& files_;
  const SortedJson& config_;
  int64_t n_vocab_ = 0;
  std::unordered_map<std::string_view, int64_t> ids_;
};

void set_special_ids(const SideFiles& files, const SortedJson& config, Vocab& vocab,
                     std::vector<std::string>& notes) {
  const SpecialIds special(files, config, vocab);
  vocab.bos = special.find("bos", vocab.bos);
  vocab.eos = special.find("eos", vocab.eos);
  vocab.unk = special.find("unk", vocab.unk);
  vocab.pad = special.find("pad", vocab.pad);
  const std::vector<int64_t> ends = special.other_ends(vocab.eos);
  if (!ends.empty()) vocab.eot = ends[0];
  if (ends.size() > 1) vocab.eom = ends[1];
  if (ends.size() > 2)
    notes.push_back(concat("GGUF names three end tokens, the model has ", ends.size() + 1));
}

Status set_add_flags(const SideFiles& files, Vocab& vocab) {
  const Object config(&files.tokenizer_config, "tokenizer_config.json");
  const auto text_of = [&](int64_t id) {
    return id < 0 ? std::string_view() : std::string_view(vocab.tokens[size_t(id)]);
  };
  bool add_bos = vocab.bos >= 0 && vocab.first_special == text_of(vocab.bos);
  // These two build their post-processor from the flag, and take an absent one as true.
  const std::string type = LM_TRY(config.str("tokenizer_class", ""));
  if (type.starts_with("LlamaTokenizer") || type.starts_with("GemmaTokenizer"))
    add_bos |= vocab.kind == Vocab::Kind::sentencepiece;
  vocab.add_bos = LM_TRY(config.boolean("add_bos_token", add_bos)) && vocab.bos >= 0;
  const bool add_eos = vocab.eos >= 0 && vocab.last_special == text_of(vocab.eos);
  vocab.add_eos = LM_TRY(config.boolean("add_eos_token", add_eos)) && vocab.eos >= 0;
  return ok();
}

bool is_plain_name(std::string_view name) {
  return !name.empty() && name.size() <= 64 && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
  });
}

// A text, or a list of {"name", "template"} of which one is the "default".
Status read_template(const SortedJson& file, std::string_view name, Vocab& vocab) {
  const Object root(&file, name);
  const SortedJson* value = root.find("chat_template");
  if (value == nullptr) return ok();
  if (value->is_string()) {
    vocab.chat_template = value->get<std::string>();
    return ok();
  }
  if (!value->is_array()) return root.wrong("chat_template", "a text or a list");
  for (const SortedJson& entry : *value) {
    const Object in(&entry, name);
    std::string title = LM_TRY(in.str("name", std::nullopt));
    std::string text = LM_TRY(in.str("template", std::nullopt));
    if (!is_plain_name(title)) return in.wrong("name", "a short name of letters and digits");
    if (title == "default") {
      vocab.chat_template = std::move(text);
    } else {
      vocab.named_templates.emplace_back(std::move(title), std::move(text));
    }
  }
  return ok();
}

Status read_templates(const std::filesystem::path& folder, const SideFiles& files, Vocab& vocab) {
  LM_TRY(read_template(files.processor_template, "chat_template.json", vocab));
  LM_TRY(read_template(files.tokenizer_config, "tokenizer_config.json", vocab));
  const std::filesystem::path jinja = folder / "chat_template.jinja";
  std::error_code ignored;
  if (std::filesystem::exists(jinja, ignored))
    vocab.chat_template = LM_TRY(read_file(jinja, kMaxSmallFileBytes));
  return ok();
}

// tokenizer.json says everything of a byte-level vocabulary; of SentencePiece's, tokenizer.model
// holds the scores themselves.
Result<Vocab> read_tokens(const std::filesystem::path& folder, const SideFiles& files,
                          int64_t n_vocab, std::vector<std::string>& notes) {
  const SortedJson json = LM_TRY(read_json(folder / "tokenizer.json", kMaxTokenizerBytes));
  const std::filesystem::path model = folder / "tokenizer.model";
  std::error_code ignored;
  const bool has_model = std::filesystem::exists(model, ignored);
  if (json.is_null() && !has_model) {
    return Error{ErrorCode::bad_file,
                 "expected tokenizer.json or tokenizer.model in the folder, found neither "
                 "(--no-vocab converts without)"};
  }
  const bool from_json =
      !json.is_null() && (!has_model || LM_TRY(tokenizer_json_kind(json)) == Vocab::Kind::byte_bpe);
  if (from_json) return parse_tokenizer_json(json, n_vocab, notes);
  const MappedFile file = LM_TRY(MappedFile::open(model));
  if (file.bytes().size() > kMaxTokenizerBytes) {
    return Error{ErrorCode::bad_file, concat("tokenizer.model: expected at most ",
                                             kMaxTokenizerBytes, " bytes, found more")};
  }
  Vocab vocab = LM_TRY(parse_sentencepiece(file.bytes(), n_vocab, notes));
  LM_TRY(add_listed_tokens(files, vocab, notes));
  for (const AddedToken& token : LM_TRY(added_tokens(json))) add_token(vocab, token, notes);
  read_post_processor(json, vocab);
  return vocab;
}

}  // namespace

Vocab unused_vocab(int64_t n_vocab) {
  Vocab vocab;
  for (int64_t i = 0; i < n_vocab; ++i) vocab.tokens.push_back(concat("[PAD", i, "]"));
  vocab.types.assign(size_t(n_vocab), TokenType::unused);
  return vocab;
}

std::string with_spaces(std::string_view text) {
  constexpr std::string_view kSpace = "▁";
  std::string out;
  for (size_t at; (at = text.find(kSpace)) != std::string_view::npos;
       text.remove_prefix(at + kSpace.size())) {
    out += text.substr(0, at);
    out += ' ';
  }
  return out += text;
}

void add_token(Vocab& vocab, const AddedToken& token, std::vector<std::string>& notes) {
  const auto id = size_t(token.id);
  if (id >= vocab.tokens.size()) {
    notes.push_back(concat("left out token ", token.id, " ", printable(token.text, 40),
                           ": it has no embedding"));
    return;
  }
  TokenType& type = vocab.types[id];
  const bool settled =
      type == TokenType::unknown || type == TokenType::byte || type == TokenType::control;
  if (settled && vocab.tokens[id] == token.text) return;
  const bool control = token.special || looks_special(token.text);
  std::string text = token.text;
  if (!control && vocab.kind == Vocab::Kind::sentencepiece) {
    text = with_spaces(text);
    if (type == TokenType::normal && text != token.text) return;  // merges make it
  }
  type = control ? TokenType::control : TokenType::user_defined;
  vocab.tokens[id] = std::move(text);
}

Result<Vocab> read_vocab(const std::filesystem::path& folder, const SortedJson& config,
                         int64_t n_vocab, std::vector<std::string>& notes) {
  const SideFiles files = LM_TRY(read_side_files(folder));
  Vocab vocab = LM_TRY(read_tokens(folder, files, n_vocab, notes));
  set_special_ids(files, config, vocab, notes);
  LM_TRY(set_add_flags(files, vocab));
  LM_TRY(read_templates(folder, files, vocab));
  return vocab;
}

void write_vocab(const Vocab& vocab, gguf::Writer& writer) {
  const auto key = [](std::string_view name) { return concat("tokenizer.ggml.", name); };
  const bool bytes = vocab.kind == Vocab::Kind::byte_bpe;
  writer.set_str(key("model"), bytes ? "gpt2" : "llama");
  writer.set_str(key("pre"), bytes ? vocab.pre : "default");
  writer.set_strs(key("tokens"), vocab.tokens);
  if (!vocab.scores.empty()) writer.set_f32s(key("scores"), vocab.scores);
  const std::vector<int32_t> types = [&] {
    std::vector<int32_t> numbers;
    for (const TokenType type : vocab.types) numbers.push_back(int32_t(type));
    return numbers;
  }();
  writer.set_i32s(key("token_type"), types);
  if (!vocab.merges.empty()) writer.set_strs(key("merges"), vocab.merges);
  const std::pair<std::string_view, int64_t> ids[] = {
      {"bos", vocab.bos}, {"eos", vocab.eos},     {"eot", vocab.eot},
      {"eom", vocab.eom}, {"unknown", vocab.unk}, {"padding", vocab.pad}};
  for (const auto& [name, id] : ids) {
    if (id >= 0) writer.set_u32(concat("tokenizer.ggml.", name, "_token_id"), uint32_t(id));
  }
  writer.set_bool(key("add_bos_token"), vocab.add_bos);
  writer.set_bool(key("add_eos_token"), vocab.add_eos);
  if (!bytes) writer.set_bool(key("add_space_prefix"), vocab.add_space_prefix);
  if (!vocab.chat_template.empty()) writer.set_str("tokenizer.chat_template", vocab.chat_template);
  std::vector<std::string> names;
  for (const auto& [name, text] : vocab.named_templates) {
    names.push_back(name);
    writer.set_str(concat("tokenizer.chat_template.", name), text);
  }
  if (!names.empty()) writer.set_strs("tokenizer.chat_templates", names);
}

}  // namespace lm::hf
