// The ids of vocabularies that we did not make, against ids that we did not compute.
#include <cstring>
#include <map>
#include <sstream>

#include "engine/core/file.h"
#include "engine/core/json.h"
#include "engine/core/text.h"
#include "engine/core/utf8.h"
#include "tests/support/support.h"
#include "tests/text/text_support.h"

using namespace lm;
using test::encode;

namespace {

std::vector<std::string> split_texts(const std::string& all) {
  const std::string separator = "\n__ggml_vocab_test__\n";
  std::vector<std::string> texts;
  size_t at = 0;
  for (size_t end; (end = all.find(separator, at)) != std::string::npos;) {
    texts.push_back(all.substr(at, end - at));
    at = end + separator.size();
  }
  return texts;
}

std::vector<std::vector<TokenId>> parse_ids(const std::string& all) {
  std::vector<std::vector<TokenId>> lines;
  std::istringstream in(all);
  for (std::string line; std::getline(in, line);) {
    std::istringstream numbers(line);
    lines.emplace_back();
    for (TokenId id; numbers >> id;) lines.back().push_back(id);
  }
  return lines;
}

void check_vocabulary(const std::filesystem::path& path) {
  CAPTURE(path.filename().string());
  const auto tokenizer = test::open_tokenizer(path);
  const std::string stem = path.string();
  const auto texts = split_texts(test::require_ok(read_file(stem + ".inp", 1 << 20)));
  const auto expected = parse_ids(test::require_ok(read_file(stem + ".out", 1 << 20)));
  REQUIRE(texts.size() > 40);
  REQUIRE(texts.size() == expected.size());
  for (size_t i = 0; i < texts.size(); ++i) {
    CAPTURE(i);
    CAPTURE(texts[i]);
    const std::vector<TokenId> ids = encode(*tokenizer, texts[i]);
    CHECK(ids == expected[i]);
    CHECK(tokenizer->decode(ids) == texts[i]);
  }
}

// llama2.c's tokenizer.bin: i32 longest token, then f32 score, i32 length and bytes of each token.
// Its encoder: a space before the text, characters (or byte tokens, which start at 3), then the
// neighbours whose joint token has the highest score merge, the leftmost of equals.
struct Llama2cVocab {
  std::vector<std::string> tokens;
  std::vector<float> scores;
  std::map<std::string, TokenId> ids;

  explicit Llama2cVocab(const std::string& bin) {
    const auto number = [&](size_t at, void* value) {
      REQUIRE(at + 4 <= bin.size());
      std::memcpy(value, bin.data() + at, 4);
    };
    for (size_t at = 4; at < bin.size();) {
      int32_t length = 0;
      scores.emplace_back();
      number(at, &scores.back());
      number(at + 4, &length);
      tokens.push_back(bin.substr(at + 8, static_cast<size_t>(length)));
      ids.emplace(tokens.back(), static_cast<TokenId>(ids.size()));
      at += 8 + static_cast<size_t>(length);
    }
  }

  std::vector<TokenId> encode(const std::string& text) const {
    std::vector<TokenId> out;
    if (!text.empty()) out.push_back(ids.at(" "));
    for (size_t at = 0; at < text.size();) {
      const auto length = static_cast<size_t>(utf8::decode(text.substr(at)).length);
      const std::string character = text.substr(at, length);
      at += length;
      if (const auto found = ids.find(character); found != ids.end()) {
        out.push_back(found->second);
        continue;
      }
      for (const char byte : character) out.push_back(3 + static_cast<unsigned char>(byte));
    }
    while (merge_best(out)) continue;
    return out;
  }

 private:
  bool merge_best(std::vector<TokenId>& out) const {
    size_t best = out.size();
    TokenId best_id = -1;
    for (size_t i = 0; i + 1 < out.size(); ++i) {
      const auto at = [&](TokenId id) { return tokens[static_cast<size_t>(id)]; };
      const auto found = ids.find(at(out[i]) + at(out[i + 1]));
      if (found == ids.end()) continue;
      const auto score = [&](TokenId id) { return scores[static_cast<size_t>(id)]; };
      if (best_id >= 0 && score(found->second) <= score(best_id)) continue;
      best = i;
      best_id = found->second;
    }
    if (best_id < 0) return false;
    out[best] = best_id;
    out.erase(out.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    return true;
  }
};

// Byte-pair encoding as it is written down: among the neighbours that some merge joins, those of
// the first merge, from the left; again, until there are none.
std::vector<std::string> merge_by_rank(std::vector<std::string> symbols,
                                       const std::map<std::string, size_t>& ranks) {
  for (;;) {
    size_t best = 0, best_rank = ranks.size();
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      const auto found = ranks.find(symbols[i] + " " + symbols[i + 1]);
      if (found == ranks.end() || found->second >= best_rank) continue;
      best = i;
      best_rank = found->second;
    }
    if (best_rank == ranks.size()) return symbols;
    symbols[best] += symbols[best + 1];
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
}

std::vector<std::string> characters(const std::string& text) {
  std::vector<std::string> out;
  for (size_t at = 0; at < text.size(); at += out.back().size()) {
    out.push_back(text.substr(at, static_cast<size_t>(utf8::decode(text.substr(at)).length)));
  }
  return out;
}

}  // namespace

TEST_CASE("golden: every line of the six reference vocabularies") {
  LM_FIXTURE(folder, "tokenizers");
  for (const char* name : {"ggml-vocab-gpt-2", "ggml-vocab-llama-spm", "ggml-vocab-phi-3",
                           "ggml-vocab-deepseek-llm", "vocab-qwen2", "vocab-llama-bpe"}) {
    check_vocabulary(folder / (std::string(name) + ".gguf"));
  }
}

TEST_CASE("golden: the stories260K vocabulary encodes as llama2.c does") {
  LM_FIXTURE(folder, "models/stories260K");
  const auto tokenizer = test::open_tokenizer(folder / "stories260K.gguf");
  const Llama2cVocab reference(test::require_ok(read_file(folder / "tok512.bin", 1 << 20)));
  REQUIRE(reference.tokens.size() == 512);
  CHECK(tokenizer->size() == 512);
  CHECK(tokenizer->bos() == 1);
  CHECK(tokenizer->eos() == 2);
  CHECK(tokenizer->add_bos());
  for (TokenId id = 259; id < 512; ++id) {
    CHECK(tokenizer->piece(id) == reference.tokens[static_cast<size_t>(id)]);
  }
  const std::string story = test::require_ok(read_file(folder / "greedy_200.txt", 1 << 20));
  CHECK(encode(*tokenizer, story) == reference.encode(story));
  test::Random random(26);
  for (int i = 0; i < 200; ++i) {
    std::string text = i % 2 == 0 ? test::random_text(random, random.below(80)) : "";
    for (uint64_t n = random.below(60); n > 0; --n)
      text += reference.tokens[259 + random.below(253)];
    CAPTURE(text);
    REQUIRE(encode(*tokenizer, text) == reference.encode(text));
    REQUIRE(tokenizer->decode(encode(*tokenizer, text)) == text);
  }
}

TEST_CASE("golden: a vocabulary without byte tokens says what it cannot say once") {
  LM_FIXTURE(path, "models/TinyStories-656K/TinyStories-656K-Q8_0.gguf");
  const auto tokenizer = test::open_tokenizer(path);
  CHECK(tokenizer->size() == 2048);
  CHECK(tokenizer->bos() == 1);
  CHECK(tokenizer->is_end(2));
  CHECK_FALSE(tokenizer->is_end(1));
  const std::string text = "Once upon a time, there was a little girl named Lily.\nShe said.";
  CHECK(tokenizer->decode(encode(*tokenizer, text)) == text);
  const std::vector<TokenId> ids = encode(*tokenizer, "a😀漢\xFF字b");
  CHECK(std::count(ids.begin(), ids.end(), tokenizer->find("<unk>")) == 1);
  CHECK(tokenizer->decode(ids) == "ab");
}

TEST_CASE("golden: a vocabulary of this kind with merges follows them") {
  LM_FIXTURE(path, "models/TinyStories-656K/tokenizer.json");
  const Json json = test::require_ok(parse_json(test::require_ok(read_file(path, 1 << 20))));
  Vocab vocab;
  vocab.tokens.resize(json["model"]["vocab"].size());
  for (const auto& [token, id] : json["model"]["vocab"].items()) {
    vocab.tokens[id.get<size_t>()] = token;
  }
  std::map<std::string, size_t> ranks;
  for (const Json& merge : json["model"]["merges"]) {
    vocab.merges.push_back(merge.get<std::string>());
    ranks.emplace(vocab.merges.back(), ranks.size());
  }
  vocab.unk = 0;
  const auto tokenizer = test::require_ok(make_tokenizer(std::move(vocab)));
  const std::string story =
      "Once upon a time, there was a big dog named Max. Max said, \"I want to go to the park.\" "
      "But then, it did not rain.\nThe end.";
  std::string escaped = "▁";
  for (const char c : story) escaped += c == ' ' ? std::string("▁") : std::string(1, c);
  std::vector<std::string> spelled;
  for (const TokenId id : encode(*tokenizer, story)) spelled.emplace_back(tokenizer->text(id));
  CHECK(spelled == merge_by_rank(characters(escaped), ranks));
  CHECK(spelled.size() < 50);
  CHECK(tokenizer->decode(encode(*tokenizer, story)) == story);
}
