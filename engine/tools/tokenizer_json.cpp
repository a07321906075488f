#include "engine/tools/tokenizer_json.h"

#include <algorithm>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "engine/core/text.h"
#include "engine/core/utf8.h"
#include "engine/text/pretokenizer_table.h"
#include "engine/tools/hf_json.h"

namespace lm::hf {
namespace {

constexpr std::string_view kFile = "tokenizer.json";
constexpr std::string_view kSpace = "▁";

Error unsupported(std::string message) {
  return Error{ErrorCode::unsupported, concat(kFile, ": ", message)};
}
Error bad(std::string message) {
  return Error{ErrorCode::bad_file, concat(kFile, ": ", message)};
}

std::string_view text_of(const SortedJson* value) {
  return value != nullptr && value->is_string()
             ? std::string_view(value->get_ref<const std::string&>())
             : std::string_view();
}
std::string_view type_of(const SortedJson& step) {
  return text_of(Object(&step, kFile).find("type"));
}

// The steps of a normalizer or pre-tokenizer: itself, or what its (possibly nested) sequence lists.
void flatten(const SortedJson* value, std::string_view list,
             std::vector<const SortedJson*>& steps) {
  if (value == nullptr || value->is_null()) return;
  const SortedJson* inner = Object(value, kFile).find(list);
  if (type_of(*value) != "Sequence" || inner == nullptr || !inner->is_array()) {
    steps.push_back(value);
    return;
  }
  for (const SortedJson& step : *inner) flatten(&step, list, steps);
}

std::vector<const SortedJson*> steps_of(const SortedJson& json, std::string_view key,
                                        std::string_view list) {
  std::vector<const SortedJson*> steps;
  flatten(Object(&json, kFile).find(key), list, steps);
  return steps;
}
std::vector<const SortedJson*> normalizers(const SortedJson& json) {
  return steps_of(json, "normalizer", "normalizers");
}
std::vector<const SortedJson*> pretokenizers(const SortedJson& json) {
  return steps_of(json, "pre_tokenizer", "pretokenizers");
}

// Line breaks and characters beyond ASCII as escapes, so that spelling does not matter.
std::string spelled_out(std::string_view regex) {
  std::string out;
  while (!regex.empty()) {
    const utf8::Decoded d = utf8::decode(regex);
    regex.remove_prefix(size_t(d.length));
    if (d.code_point == '\r') {
      out += "\\r";
    } else if (d.code_point == '\n') {
      out += "\\n";
    } else if (d.code_point < 0x80) {
      out.push_back(char(d.code_point));
    } else {
      std::ostringstream hex;
      hex << "\\x{" << std::hex << std::uppercase << uint32_t(d.code_point) << '}';
      out += hex.str();
    }
  }
  return out;
}

constexpr std::string_view kGpt2Words =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// The regular expressions that a byte-level pre-tokenizer applies one after the other.
Result<std::vector<std::string>> pretokenizer_stages(const SortedJson& json) {
  std::vector<std::string> stages;
  for (const SortedJson* step : pretokenizers(json)) {
    const Object in(step, kFile);
    const std::string_view type = type_of(*step);
    if (type == "ByteLevel") {
      if (LM_TRY(in.boolean("add_prefix_space", true))) {
        return unsupported(
            "expected a byte-level pre-tokenizer without \"add_prefix_space\", found it");
      }
      if (LM_TRY(in.boolean("use_regex", true))) stages.emplace_back(kGpt2Words);
    } else if (type == "Digits") {
      stages.emplace_back(LM_TRY(in.boolean("individual_digits", false)) ? R"(\p{N})"
                                                                         : R"(\p{N}+)");
    } else if (type == "Split") {
      const std::string_view regex = text_of(in.object("pattern").find("Regex"));
      const std::string_view behavior = text_of(in.find("behavior"));
      const bool inverted = LM_TRY(in.boolean("invert", false));
      // "Removed" of what lies between the matches is the same where all text matches.
      if (regex.empty() ||
          !((behavior == "Isolated" && !inverted) || (behavior == "Removed" && inverted))) {
        return unsupported(
            "expected pre-tokenizer splits that isolate a regular expression, found another");
      }
      stages.push_back(spelled_out(regex));
    } else {
      return unsupported(concat("expected pre-tokenizer steps ByteLevel, Digits and Split, found ",
                                printable(type)));
    }
  }
  return stages;
}

// The name of a pre-tokenizer that does the same.
Result<std::string> pretokenizer_name(const SortedJson& json, std::vector<std::string>& notes) {
  const std::vector<std::string> stages = LM_TRY(pretokenizer_stages(json));
  const bool ignores_merges =
      LM_TRY(Object(&json, kFile).object("model").boolean("ignore_merges", false));
  const PretokenizerRow* similar = nullptr;
  for (const PretokenizerRow& row : pretokenizer_rows()) {
    const bool same = std::ranges::equal(
        stages, row.stages,
        [](const std::string& a, std::string_view b) { return a == spelled_out(b); });
    if (same && row.ignores_merges == ignores_merges) return std::string(row.name);
    if (same && similar == nullptr) similar = &row;
  }
  if (similar == nullptr) {
    return unsupported(concat("expected a known pre-tokenizer, found ",
                              stages.empty() ? "none" : printable(stages.front(), 80)));
  }
  notes.push_back(concat("\"ignore_merges\" of tokenizer.json differs from what pre-tokenizer ",
                         similar->name, " implies: rare words may be cut differently"));
  return std::string(similar->name);
}

bool is_byte_token(std::string_view text) {
  const auto is_hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F'); };
  return text.size() == 6 && text.starts_with("<0x") && is_hex(text[3]) && is_hex(text[4]) &&
         text[5] == '>';
}

Status read_tokens(const SortedJson& json, Vocab& vocab,
                   std::unordered_map<std::string_view, int64_t>& ids) {
  const Object model = Object(&json, kFile).object("model");
  const SortedJson* tokens = model.find("vocab");
  const int64_t n_vocab = int64_t(vocab.tokens.size());
  if (tokens == nullptr || !tokens->is_object()) return model.wrong("vocab", "an object of tokens");
  const bool byte_fallback = LM_TRY(model.boolean("byte_fallback", false));
  std::vector<bool> seen(size_t(n_vocab), false);
  for (auto it = tokens->begin(); it != tokens->end(); ++it) {
    const std::string& text = it.key();
    const SortedJson& value = it.value();
    const bool in_range =
        value.is_number_integer() && value.get<int64_t>() >= 0 && value.get<int64_t>() < n_vocab;
    if (!in_range) {
      return bad(concat("expected token ids below the ", n_vocab, " of config.json, found ",
                        printable(value.dump(), 40), " for ", printable(text, 40)));
    }
    const auto id = size_t(value.get<int64_t>());
    if (seen[id]) return bad(concat("expected each id once, found ", id, " twice"));
    seen[id] = true;
    vocab.tokens[id] = text;
    const bool is_byte =
        vocab.kind == Vocab::Kind::sentencepiece && byte_fallback && is_byte_token(text);
    vocab.types[id] = is_byte ? TokenType::byte : TokenType::normal;
    ids.emplace(text, int64_t(id));
  }
  const std::string unk = LM_TRY(model.str("unk_token", ""));
  const auto found = ids.find(unk);
  if (found != ids.end()) {
    vocab.unk = found->second;
    vocab.types[size_t(found->second)] = TokenType::unknown;
  }
  return ok();
}

// "left right", or ["left", "right"] in newer files.
std::optional<std::pair<std::string_view, std::string_view>> merge_of(const SortedJson& value) {
  if (value.is_array() && value.size() == 2 && value[0].is_string() && value[1].is_string()) {
    return std::pair{text_of(&value[0]), text_of(&value[1])};
  }
  const std::string_view both = text_of(&value);
  const size_t space = both.find(' ');
  if (space == std::string_view::npos || both.find(' ', space + 1) != std::string_view::npos)
    return std::nullopt;
  return std::pair{both.substr(0, space), both.substr(space + 1)};
}

Status read_merges(const SortedJson& json, const std::unordered_map<std::string_view, int64_t>& ids,
                   Vocab& vocab) {
  const Object model = Object(&json, kFile).object("model");
  const SortedJson* merges = model.find("merges");
  if (merges == nullptr || !merges->is_array()) return model.wrong("merges", "a list");
  // "llama" merges whatever gives the highest score; GGUF files have no tie-breaker but position.
  vocab.scores.assign(vocab.tokens.size(), -float(merges->size()));
  std::vector<bool> ranked(vocab.tokens.size(), false);
  std::string both;
  for (const SortedJson& value : *merges) {
    const auto merge = merge_of(value);
    if (!merge)
      return bad(concat("expected merges of two tokens, found ", printable(value.dump(), 60)));
    both = concat(merge->first, merge->second);
    const auto it = ids.find(both);
    if (it == ids.end() || !ids.contains(merge->first) || !ids.contains(merge->second) ||
        both.find(' ') != std::string::npos) {
      return bad(
          concat("expected merges of known tokens into one, found ", printable(value.dump(), 60)));
    }
    const auto id = size_t(it->second);
    if (!ranked[id]) vocab.scores[id] = -float(vocab.merges.size());
    ranked[id] = true;
    vocab.merges.push_back(concat(merge->first, " ", merge->second));
  }
  return ok();
}

// Added tokens may have taken the place of what a merge named: such a merge never applied.
void drop_stale_merges(Vocab& vocab) {
  std::unordered_set<std::string_view> tokens(vocab.tokens.begin(), vocab.tokens.end());
  std::string both;
  std::erase_if(vocab.merges, [&](const std::string& merge) {
    const size_t space = merge.find(' ');
    const std::string_view left(merge.data(), space),
        right = std::string_view(merge).substr(space + 1);
    both = concat(left, right);
    return !tokens.contains(left) || !tokens.contains(right) || !tokens.contains(both);
  });
}

// What SentencePiece's converters leave: spaces become "▁", perhaps with one in front.
Status read_space_handling(const SortedJson& json, Vocab& vocab) {
  for (const SortedJson* step : normalizers(json)) {
    const Object in(step, kFile);
    const std::string_view type = type_of(*step);
    const bool replaces = type == "Replace" &&
                          text_of(in.object("pattern").find("String")) == " " &&
                          text_of(in.find("content")) == kSpace;
    const bool prepends = type == "Prepend" && text_of(in.find("prepend")) == kSpace;
    if (!replaces && !prepends) {
      return unsupported(
          concat("expected a normalizer that only turns spaces into ▁, found ", printable(type)));
    }
    vocab.add_space_prefix |= prepends;
  }
  for (const SortedJson* step : pretokenizers(json)) {
    const Object in(step, kFile);
    const std::string_view type = type_of(*step);
    if (type == "Metaspace") {
      const bool old = LM_TRY(in.boolean("add_prefix_space", true));
      vocab.add_space_prefix |=
          LM_TRY(in.str("prepend_scheme", old ? "always" : "never")) != "never";
    } else if (type != "Split" || text_of(in.object("pattern").find("String")) != " ") {
      // (Gemma splits at spaces that its normalizer has already replaced.)
      return unsupported(
          concat("expected pre-tokenizer Metaspace or none, found ", printable(type)));
    }
  }
  return ok();
}

Status check_byte_level(const SortedJson& json) {
  for (const SortedJson* step : normalizers(json)) {
    if (type_of(*step) != "NFC") {  // the field's programs take text as normalised
      return unsupported(
          concat("expected normalizer NFC or none, found ", printable(type_of(*step))));
    }
  }
  return ok();
}

}  // namespace

Result<Vocab::Kind> tokenizer_json_kind(const SortedJson& json) {
  const Object model = Object(&json, kFile).object("model");
  const std::string_view type = text_of(model.find("type"));
  if (type != "BPE" && !(type.empty() && model.has("merges"))) {
    return unsupported(concat("expected a vocabulary of type BPE, found ",
                              type.empty() ? "none" : printable(type)));
  }
  for (const std::string_view key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!text_of(model.find(key)).empty())
      return unsupported(concat("expected no \"", key, "\", found one"));
  }
  for (const SortedJson* step : pretokenizers(json)) {
    if (type_of(*step) == "ByteLevel") return Vocab::Kind::byte_bpe;
    if (type_of(*step) == "Metaspace") return Vocab::Kind::sentencepiece;
  }
  for (const SortedJson* step : normalizers(json)) {
    if (text_of(Object(step, kFile).find("content")) == kSpace) return Vocab::Kind::sentencepiece;
  }
  return unsupported("expected byte-level BPE or SentencePiece's ▁, found neither");
}

Result<std::vector<AddedToken>> added_tokens(const SortedJson& json) {
  std::vector<AddedToken> tokens;
  const Object root(&json, kFile);
  const SortedJson* list = root.find("added_tokens");
  if (list == nullptr) return tokens;
  if (!list->is_array()) return root.wrong("added_tokens", "a list");
  for (const SortedJson& value : *list) {
    const Object in(&value, kFile);
    tokens.push_back({.id = LM_TRY(in.integer("id", 0, INT32_MAX)),
                      .text = LM_TRY(in.str("content", std::nullopt)),
                      .special = LM_TRY(in.boolean("special", false))});
  }
  return tokens;
}

void read_post_processor(const SortedJson& json, Vocab& vocab) {
  for (const SortedJson* step : steps_of(json, "post_processor", "processors")) {
    const SortedJson* single = Object(step, kFile).find("single");
    if (type_of(*step) != "TemplateProcessing" || single == nullptr || !single->is_array() ||
        single->empty())
      continue;
    const auto special = [](const SortedJson& part) {
      return std::string(text_of(Object(&part, kFile).object("SpecialToken").find("id")));
    };
    vocab.first_special = special(single->front());
    vocab.last_special = special(single->back());
  }
}

Result<Vocab> parse_tokenizer_json(const SortedJson& json, int64_t n_vocab,
                                   std::vector<std::string>& notes) {
  const Vocab::Kind kind = LM_TRY(tokenizer_json_kind(json));
  Vocab vocab = unused_vocab(n_vocab);
  vocab.kind = kind;
  if (kind == Vocab::Kind::byte_bpe) {
    LM_TRY(check_byte_level(json));
    vocab.pre = LM_TRY(pretokenizer_name(json, notes));
  } else {
    LM_TRY(read_space_handling(json, vocab));
  }
  std::unordered_map<std::string_view, int64_t> ids;
  LM_TRY(read_tokens(json, vocab, ids));
  LM_TRY(read_merges(json, ids, vocab));
  if (kind == Vocab::Kind::byte_bpe) vocab.scores.clear();
  for (const AddedToken& token : LM_TRY(added_tokens(json))) add_token(vocab, token, notes);
  drop_stale_merges(vocab);
  read_post_processor(json, vocab);
  return vocab;
}

}  // namespace lm::hf
