// What following a grammar adds to each token at a vocabulary of 128k: the mask, applying it to the
// logits, and taking the token. The texts are tokenised by a real vocabulary, found in
// $LLM_FIXTURES/tokenizers/vocab-llama-bpe.gguf or in ../shared/fixtures.
#include <benchmark/benchmark.h>

#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "engine/runtime/grammar_request.h"
#include "gguf/file.h"

namespace lm::bench {
namespace {

struct Case {
  const char* name;
  const char* schema;
  const char* text;
};

constexpr Case kCases[] = {
    {"person",
     R"({"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer","minimum":0,"maximum":150},"email":{"type":"string"},"address":{"type":"object","properties":{"street":{"type":"string"},"city":{"type":"string"},"zip":{"type":"string","pattern":"^[0-9]{5}$"}},"required":["street","city"]},"tags":{"type":"array","items":{"type":"string"}}},"required":["name","age"]})",
     "{\n  \"name\": \"Maria Fernandez-Smith\",\n  \"age\": 42,\n  \"email\": "
     "\"maria@example.org\",\n  "
     "\"address\": {\n    \"street\": \"12 Long Winding Road, second floor\",\n    \"city\": \"San "
     "Francisco\",\n    \"zip\": \"94110\"\n  },\n  \"tags\": [\"customer\", \"newsletter "
     "subscriber\", \"friend of the house\"]\n}"},
    {"any_json", "true",
     "{\"items\": [{\"id\": 1, \"title\": \"The first of them\", \"price\": 12.5, \"tags\": "
     "[\"a\", "
     "\"b\"], \"nested\": {\"deep\": [[1, 2], [3, {\"x\": null}]]}}, {\"id\": 2, \"title\": "
     "\"Another "
     "one\", \"price\": 7, \"tags\": [], \"nested\": {}}]}"},
    {"max_length",
     R"({"type":"object","properties":{"summary":{"type":"string","maxLength":400},"title":{"type":"string","minLength":5,"maxLength":80}},"required":["summary","title"]})",
     "{\"summary\": \"A long summary of a text that says many things about very little, and goes "
     "on "
     "for a while, so that each position in it has a count of its own.\", \"title\": \"Of many "
     "things\"}"},
};

double microseconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start)
      .count();
}

std::unique_ptr<Tokenizer> tokenizer_128k() {
  const char* fixtures = std::getenv("LLM_FIXTURES");
  const std::string folder = fixtures != nullptr ? fixtures : "../shared/fixtures";
  auto file = gguf::File::open(folder + "/tokenizers/vocab-llama-bpe.gguf");
  if (!file.ok()) return nullptr;
  auto tokenizer = Tokenizer::from_gguf(file.value());
  return tokenizer.ok() ? std::move(tokenizer).value() : nullptr;
}

void grammar(benchmark::State& state, const Case& c) {
  const auto tokenizer = tokenizer_128k();
  if (!tokenizer) return state.SkipWithError("no vocabulary");
  const auto vocabulary = grammar_vocabulary(*tokenizer);
  const auto rules = AnswerGrammar::from_json_schema(c.schema);
  std::vector<TokenId> ids;
  tokenizer->encode(c.text, Tokenizer::Special::as_text, ids);
  std::vector<float> logits(vocabulary->size());
  double compile = 0, first = 0, later = 0, worst = 0, n = 0;
  for ([[maybe_unused]] auto _ : state) {
    auto start = std::chrono::steady_clock::now();
    (void)AnswerGrammar::from_json_schema(c.schema);
    const auto bound = rules.value().bind(vocabulary);
    compile += microseconds_since(start);
    // The first answer computes masks, later ones of the same grammar find them.
    for (const bool is_first : {true, false}) {
      const auto filter = make_grammar_filter(bound.value(), *tokenizer, {});
      for (const TokenId id : ids) {
        std::fill(logits.begin(), logits.end(), 1.0f);
        start = std::chrono::steady_clock::now();
        filter->apply(logits);
        filter->accept(id);
        const double spent = microseconds_since(start);
        if (logits[size_t(id)] != 1.0f) return state.SkipWithError("a token was forbidden");
        (is_first ? first : later) += spent;
        if (!is_first) worst = std::max(worst, spent);
      }
    }
    n += double(ids.size());
  }
  state.counters["tokens"] = double(ids.size());
  state.counters["compile_us"] = compile / double(state.iterations());
  state.counters["first_us_per_token"] = first / n;
  state.counters["later_us_per_token"] = later / n;
  state.counters["later_worst_us"] = worst;
}

const bool kRegistered = [] {
  for (const Case& c : kCases) {
    benchmark::RegisterBenchmark((std::string("grammar/") + c.name).c_str(),
                                 [&c](benchmark::State& state) { grammar(state, c); })
        ->Iterations(5)
        ->Unit(benchmark::kMillisecond);
  }
  return true;
}();

}  // namespace
}  // namespace lm::bench
