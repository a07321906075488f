// Vocabularies of every kind, and the files beside them.
#include "engine/text/tokenizer.h"
#include "engine/tools/sentencepiece_model.h"
#include "engine/tools/tokenizer_json.h"
#include "tests/tools/hf_folder.h"

namespace fs = std::filesystem;

namespace lm::test {
namespace {

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

std::vector<std::string> strings(const gguf::File& file, std::string_view key) {
  const auto views = require_ok(file.strs(key));
  return {views.begin(), views.end()};
}

// Regular expressions as the models' tokenizer.json have them.
constexpr const char* kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kO200k =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kTekken =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

Json byte_level(bool use_regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", true},
          {"use_regex", use_regex}};
}
Json split(const char* regex) {
  return {{"type", "Split"},
          {"pattern", {{"Regex", regex}}},
          {"behavior", "Isolated"},
          {"invert", false}};
}
Json sequence(std::vector<Json> steps) {
  return {{"type", "Sequence"}, {"pretokenizers", std::move(steps)}};
}

// Byte-level: "ab" is one token, " ab" another.
Json small_byte_level() {
  return {{"added_tokens",
           {{{"id", 6}, {"content", "<|end|>"}, {"special", true}},
            {{"id", 7}, {"content", "<think>"}, {"special", false}}}},
          {"normalizer", nullptr},
          {"pre_tokenizer", sequence({split(kLlama3), byte_level(false)})},
          {"model",
           {{"type", "BPE"},
            {"ignore_merges", true},
            {"vocab", {{"a", 0}, {"b", 1}, {"Ġ", 2}, {"ab", 3}, {"Ġab", 4}}},
            {"merges", {"a b", "Ġ ab"}}}}};
}

// SentencePiece's: "▁ab" from characters, a few byte tokens.
Json small_metaspace() {
  return {{"added_tokens",
           {{{"id", 0}, {"content", "<unk>"}, {"special", true}},
            {{"id", 1}, {"content", "<s>"}, {"special", true}},
            {{"id", 2}, {"content", "</s>"}, {"special", true}}}},
          {"normalizer",
           {{"type", "Sequence"},
            {"normalizers",
             {{{"type", "Prepend"}, {"prepend", "▁"}},
              {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "▁"}}}}}},
          {"pre_tokenizer", nullptr},
          {"post_processor",
           {{"type", "TemplateProcessing"},
            {"single",
             {{{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}},
              {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}}}},
          {"model",
           {{"type", "BPE"},
            {"unk_token", "<unk>"},
            {"byte_fallback", true},
            {"vocab",
             {{"<unk>", 0},
              {"<s>", 1},
              {"</s>", 2},
              {"<0x0A>", 3},
              {"▁", 4},
              {"a", 5},
              {"b", 6},
              {"ab", 7},
              {"▁ab", 8}}},
            {"merges", {"a b", "▁ ab"}}}}};
}

struct Made {
  gguf::File file;
  ConvertReport report;
};

Made convert_ok(const TempDir& temp, const HfFolder& folder) {
  ConvertReport report = require_ok(folder.convert_to(temp.path() / "out.gguf", {}, true));
  return {require_ok(gguf::File::open(temp.path() / "out.gguf")), std::move(report)};
}

HfFolder with_tokenizer(const Json& json) {
  HfFolder folder = tiny_llama();
  folder.texts["tokenizer.json"] = dump_json(json);
  return folder;
}

std::string refusal(const Json& json) {
  const TempDir temp;
  const auto result = with_tokenizer(json).convert_to(temp.path() / "out.gguf", {}, true);
  REQUIRE_FALSE(result.ok());
  return result.error().message;
}

TEST_CASE("byte-level BPE") {
  const TempDir temp;
  HfFolder folder = with_tokenizer(small_byte_level());
  folder.texts["tokenizer_config.json"] =
      R"({"eos_token": {"content": "<|end|>"}, "bos_token": null,
      "add_bos_token": false, "chat_template": "{{ 1 }}"})";
  folder.texts["generation_config.json"] = R"({"eos_token_id": [6, 7, 3, 4]})";
  const auto [file, report] = convert_ok(temp, folder);
  CHECK(require_ok(file.str("tokenizer.ggml.model")) == "gpt2");
  CHECK(require_ok(file.str("tokenizer.ggml.pre")) == "llama-bpe");
  CHECK(strings(file, "tokenizer.ggml.tokens") ==
        std::vector<std::string>{"a", "b", "Ġ", "ab", "Ġab", "[PAD5]", "<|end|>", "<think>",
                                 "[PAD8]", "[PAD9]", "[PAD10]"});
  CHECK(strings(file, "tokenizer.ggml.merges") == std::vector<std::string>{"a b", "Ġ ab"});
  CHECK(require_ok(file.i32s("tokenizer.ggml.token_type")) ==
        std::vector<int32_t>{1, 1, 1, 1, 1, 5, 3, 4, 5, 5, 5});
  CHECK(require_ok(file.u32("tokenizer.ggml.eos_token_id")) == 6);
  CHECK(require_ok(file.u32("tokenizer.ggml.eot_token_id")) == 7);
  CHECK(require_ok(file.u32("tokenizer.ggml.eom_token_id")) == 3);
  CHECK(file.value("tokenizer.ggml.bos_token_id") == nullptr);
  CHECK_FALSE(require_ok(file.boolean("tokenizer.ggml.add_bos_token")));
  CHECK(require_ok(file.str("tokenizer.chat_template")) == "{{ 1 }}");
  CHECK(report.notes.size() == 1);  // a fourth end token has no name in GGUF
  const auto tokenizer = require_ok(Tokenizer::from_gguf(file));
  std::vector<TokenId> ids;
  tokenizer->encode("ab ab<think><|end|>", Tokenizer::Special::parse, ids);
  CHECK(ids == std::vector<TokenId>{3, 4, 7, 6});
}

TEST_CASE("merges spelled as pairs are the same merges") {
  const TempDir temp;
  Json json = small_byte_level();
  json["model"]["merges"] = Json::array({Json::array({"a", "b"}), Json::array({"Ġ", "ab"})});
  CHECK(strings(convert_ok(temp, with_tokenizer(json)).file, "tokenizer.ggml.merges") ==
        std::vector<std::string>{"a b", "Ġ ab"});
}

TEST_CASE("pre-tokenizers are told by what they do") {
  const Json digits = {{"type", "Digits"}, {"individual_digits", true}};
  Json removed = split(kLlama3);
  removed["behavior"] = "Removed";
  removed["invert"] = true;
  const std::tuple<Json, bool, std::string_view> cases[] = {
      {byte_level(true), false, "gpt-2"},
      {sequence({split(kLlama3), byte_level(false)}), true, "llama-bpe"},
      {sequence({split(kLlama3), byte_level(false)}), false, "dbrx"},
      {sequence({removed, byte_level(false)}), false, "dbrx"},
      {sequence({split(kQwen2), byte_level(false)}), false, "qwen2"},
      {sequence({split(kO200k), byte_level(false)}), false, "gpt-4o"},
      {sequence({split(kTekken), byte_level(false)}), true, "tekken"},
      {sequence({digits, byte_level(true)}), false, "starcoder"},  // SmolLM's is the same
      {sequence({split("[\r\n]"), split(R"(\s?\p{L}+)"), split(R"(\s?\p{P}+)"),
                 split("[一-龥ࠀ-一가-퟿]+"), digits, byte_level(false)}),
       false, "deepseek-coder"}};
  for (const auto& [pre, ignore_merges, name] : cases) {
    const TempDir temp;
    Json json = small_byte_level();
    json["pre_tokenizer"] = pre;
    json["model"]["ignore_merges"] = ignore_merges;
    CHECK(require_ok(convert_ok(temp, with_tokenizer(json)).file.str("tokenizer.ggml.pre")) ==
          name);
  }
  Json json = small_byte_level();
  json["pre_tokenizer"] = sequence({split(R"(\w+|\W+)"), byte_level(false)});
  CHECK(contains(refusal(json), R"(\w+|\W+)"));
  json["pre_tokenizer"] = byte_level(true);
  json["pre_tokenizer"]["add_prefix_space"] = true;
  CHECK(contains(refusal(json), "add_prefix_space"));
  json = small_byte_level();
  json["normalizer"] = {{"type", "Lowercase"}};
  CHECK(contains(refusal(json), "Lowercase"));
}

TEST_CASE("BPE over ▁") {
  const TempDir temp;
  HfFolder folder = with_tokenizer(small_metaspace());
  folder.texts["tokenizer_config.json"] =
      R"({"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"})";
  const auto [file, report] = convert_ok(temp, folder);
  CHECK(require_ok(file.str("tokenizer.ggml.model")) == "llama");
  CHECK(require_ok(file.i32s("tokenizer.ggml.token_type")) ==
        std::vector<int32_t>{2, 3, 3, 6, 1, 1, 1, 1, 1, 5, 5});
  const std::vector<float> scores = require_ok(file.f32s("tokenizer.ggml.scores"));
  CHECK(scores[7] > scores[8]);  // merged first
  CHECK(scores[8] > scores[5]);  // never merged
  CHECK(require_ok(file.boolean("tokenizer.ggml.add_space_prefix")));
  CHECK(require_ok(file.boolean("tokenizer.ggml.add_bos_token")));  // the post-processor says so
  const auto tokenizer = require_ok(Tokenizer::from_gguf(file));
  std::vector<TokenId> ids;
  tokenizer->encode("ab ab\nz", Tokenizer::Special::as_text, ids);
  CHECK(ids == std::vector<TokenId>{8, 8, 3, 0});

  Json metaspace = small_metaspace();
  metaspace["normalizer"] = nullptr;
  metaspace["pre_tokenizer"] = {
      {"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", "never"}};
  CHECK_FALSE(require_ok(
      convert_ok(temp, with_tokenizer(metaspace)).file.boolean("tokenizer.ggml.add_space_prefix")));
  Json unigram = small_metaspace();
  unigram["model"]["type"] = "Unigram";
  CHECK(contains(refusal(unigram), "Unigram"));
}

TEST_CASE("templates: one, several, or a file") {
  const TempDir temp;
  HfFolder folder = with_tokenizer(small_byte_level());
  folder.texts["tokenizer_config.json"] =
      R"({"chat_template": [{"name": "default", "template": "D"}, {"name": "tool_use", "template": "T"}]})";
  gguf::File file = convert_ok(temp, folder).file;
  CHECK(require_ok(file.str("tokenizer.chat_template")) == "D");
  CHECK(require_ok(file.str("tokenizer.chat_template.tool_use")) == "T");
  CHECK(strings(file, "tokenizer.chat_templates") == std::vector<std::string>{"tool_use"});
  folder.texts["chat_template.jinja"] = "J";
  CHECK(require_ok(convert_ok(temp, folder).file.str("tokenizer.chat_template")) == "J");
}

TEST_CASE("tokens and ids that cannot be") {
  Json json = small_byte_level();
  json["model"]["vocab"]["a"] = 11;
  CHECK(contains(refusal(json), "11"));
  json["model"]["vocab"]["a"] = 1;
  CHECK(contains(refusal(json), "twice"));
  json = small_byte_level();
  json["model"]["merges"].push_back("a q");
  CHECK(contains(refusal(json), "a q"));
  json["model"]["merges"].back() = "ab";
  CHECK(contains(refusal(json), "ab"));
  json = small_byte_level();
  json["added_tokens"][0]["id"] = -1;
  CHECK(contains(refusal(json), "\"id\""));

  const TempDir temp;  // an added token without an embedding is left out, and said to be
  json["added_tokens"][0]["id"] = 11;
  const Made made = convert_ok(temp, with_tokenizer(json));
  REQUIRE(made.report.notes.size() == 1);
  CHECK(contains(made.report.notes[0], "<|end|>"));

  HfFolder none = tiny_llama();
  const auto result = none.convert_to(temp.path() / "none.gguf", {}, true);
  REQUIRE_FALSE(result.ok());
  CHECK(contains(result.error().message, "--no-vocab"));
}

// The field's own conversions, taken apart into the files they were made of, and made again.
Json tokenizer_json_of(const gguf::File& file, Json pre_tokenizer) {
  Json vocab = Json::object(), added = Json::array();
  const std::vector<std::string> tokens = strings(file, "tokenizer.ggml.tokens");
  const std::vector<int32_t> types = require_ok(file.i32s("tokenizer.ggml.token_type"));
  auto& members =
      vocab.get_ref<Json::object_t&>();  // (appended: looking each up first would be quadratic)
  for (size_t i = 0; i < tokens.size(); ++i) {
    const Json id = i;
    if (types[i] == 1) members.emplace_back(tokens[i], id);
    if (types[i] != 1)
      added.push_back({{"id", id}, {"content", tokens[i]}, {"special", types[i] == 3}});
  }
  return {
      {"added_tokens", added},
      {"pre_tokenizer", std::move(pre_tokenizer)},
      {"model",
       {{"type", "BPE"}, {"vocab", vocab}, {"merges", strings(file, "tokenizer.ggml.merges")}}}};
}

TEST_CASE("real byte-level vocabularies come back as the field converts them") {
  const std::tuple<const char*, Json, bool> cases[] = {
      {"tokenizers/ggml-vocab-gpt-2.gguf", byte_level(true), false},
      {"tokenizers/vocab-qwen2.gguf", sequence({split(kQwen2), byte_level(false)}), false},
      {"tokenizers/vocab-llama-bpe.gguf", sequence({split(kLlama3), byte_level(false)}), true}};
  for (const auto& [name, pre, ignore_merges] : cases) {
    CAPTURE(name);
    LM_FIXTURE(path, name);
    const gguf::File file = require_ok(gguf::File::open(path));
    Json json = tokenizer_json_of(file, pre);
    json["model"]["ignore_merges"] = ignore_merges;
    const SortedJson parsed = require_ok(parse_sorted_json(dump_json(json)));
    const auto n_vocab = int64_t(file.value("tokenizer.ggml.tokens")->count);
    std::vector<std::string> notes;
    const hf::Vocab vocab = require_ok(hf::parse_tokenizer_json(parsed, n_vocab, notes));
    CHECK(notes.empty());
    CHECK(vocab.pre == require_ok(file.str("tokenizer.ggml.pre")));
    CHECK(vocab.tokens == strings(file, "tokenizer.ggml.tokens"));
    CHECK(vocab.merges == strings(file, "tokenizer.ggml.merges"));
    const std::vector<int32_t> types = require_ok(file.i32s("tokenizer.ggml.token_type"));
    for (size_t i = 0; i < types.size(); ++i) {
      CAPTURE(vocab.tokens[i]);
      // Qwen calls its "<|fim_pad|>" and the like ordinary; by their looks they are control tokens.
      const bool by_looks = types[i] == 4 && vocab.tokens[i].starts_with("<|");
      REQUIRE(int32_t(vocab.types[i]) == (by_looks ? 3 : types[i]));
    }
  }
}

void put_varint(std::string& out, uint64_t value) {
  for (; value > 127; value >>= 7) out.push_back(char(value | 128));
  out.push_back(char(value));
}
void put_bytes(std::string& out, int field, std::string_view bytes) {
  put_varint(out, uint64_t(field) << 3 | 2);
  put_varint(out, bytes.size());
  out += bytes;
}
void put_number(std::string& out, int field, uint64_t value) {
  put_varint(out, uint64_t(field) << 3);
  put_varint(out, value);
}

std::string sentencepiece_of(const std::vector<std::string>& tokens,
                             const std::vector<float>& scores, const std::vector<int32_t>& types,
                             int model_type) {
  std::string out, trainer, normalizer;
  for (size_t i = 0; i < tokens.size(); ++i) {
    std::string piece;
    put_bytes(piece, 1, tokens[i]);
    put_varint(piece, 2 << 3 | 5);
    piece.append(reinterpret_cast<const char*>(&scores[i]), 4);
    put_number(piece, 3, uint64_t(types[i]));
    put_bytes(out, 1, piece);
  }
  put_number(trainer, 3, uint64_t(model_type));
  put_bytes(out, 2, trainer);
  put_number(normalizer, 4, 0);
  put_bytes(out, 3, normalizer);
  return out;
}

TEST_CASE("a real tokenizer.model comes back as the field converts it") {
  LM_FIXTURE(path, "tokenizers/ggml-vocab-llama-spm.gguf");
  const gguf::File file = require_ok(gguf::File::open(path));
  const std::vector<std::string> tokens = strings(file, "tokenizer.ggml.tokens");
  const std::vector<float> scores = require_ok(file.f32s("tokenizer.ggml.scores"));
  const std::vector<int32_t> types = require_ok(file.i32s("tokenizer.ggml.token_type"));
  const std::string model = sentencepiece_of(tokens, scores, types, 2);
  std::vector<std::string> notes;
  const auto parse = [&](std::string_view text, int64_t n_vocab) {
    return hf::parse_sentencepiece(std::as_bytes(std::span(text)), n_vocab, notes);
  };
  const hf::Vocab vocab = require_ok(parse(model, int64_t(tokens.size())));
  CHECK(notes.empty());
  CHECK(vocab.tokens == tokens);
  CHECK(vocab.scores == scores);
  for (size_t i = 0; i < types.size(); ++i) REQUIRE(int32_t(vocab.types[i]) == types[i]);
  CHECK(vocab.unk == 0);
  CHECK(vocab.bos == 1);
  CHECK(vocab.eos == 2);
  CHECK(vocab.add_space_prefix);
  CHECK_FALSE(parse(model, int64_t(tokens.size()) - 1).ok());
}

TEST_CASE("damaged tokenizer.model") {
  const std::string model = sentencepiece_of({"<unk>", "<s>", "</s>", "▁", "a", "▁a"},
                                             {0, 0, 0, -2, -3, -1}, {2, 3, 3, 1, 1, 1}, 2);
  std::vector<std::string> notes;
  const auto parse = [&](std::string_view text) {
    return hf::parse_sentencepiece(std::as_bytes(std::span(text)), 8, notes);
  };
  REQUIRE(parse(model).ok());
  CHECK_FALSE(parse("").ok());
  CHECK(contains(parse(sentencepiece_of({"a"}, {0}, {1}, 1)).error().message, "BPE"));
  CHECK_FALSE(parse(sentencepiece_of({"a"}, {0}, {7}, 2)).ok());
  CHECK_FALSE(parse(sentencepiece_of({"\xff"}, {0}, {1}, 2)).ok());
  Random random(23);
  for (size_t i = 0; i < model.size(); ++i) {
    std::string bent = model;
    bent[i] = char(random.below(256));
    for (const std::string& text : {model.substr(0, i), bent}) {
      const auto result = parse(text);
      if (!result.ok()) CHECK(result.error().message.find('\n') == std::string::npos);
    }
  }
}

}  // namespace
}  // namespace lm::test
