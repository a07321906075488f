// What following a grammar adds to each token at a vocabulary of 128k: the mask, applying it to the
// logits, and taking the token. The texts are tokenised by a real vocabulary, found in
// $LLM_FIXTURES/tokenizers/vocab-llama-bpe.gguf or in ../shared/fixtures.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <numeric>
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

// Of this thread's processor time: what else the machine does is not counted.
double microseconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return double(now.tv_sec) * 1e6 + double(now.tv_nsec) / 1e3;
}

double mean(const std::vector<double>& x) {
  return std::accumulate(x.begin(), x.end(), 0.0) / double(x.size());
}
double quantile(std::vector<double> x, double q) {
  std::sort(x.begin(), x.end());
  return x[size_t(q * double(x.size() - 1))];
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
  std::vector<double> compile, first, later;
  for ([[maybe_unused]] auto _ : state) {
    double start = microseconds();
    (void)AnswerGrammar::from_json_schema(c.schema);
    const auto bound = rules.value().bind(vocabulary);
    compile.push_back(microseconds() - start);
    // The first answer computes masks, later ones of the same grammar find them.
    for (std::vector<double>* times : {&first, &later}) {
      const auto filter = make_grammar_filter(bound.value(), *tokenizer, {});
      for (const TokenId id : ids) {
        std::fill(logits.begin(), logits.end(), 1.0f);
        start = microseconds();
        filter->apply(logits);
        filter->accept(id);
        times->push_back(microseconds() - start);
        if (logits[size_t(id)] != 1.0f) return state.SkipWithError("a token was forbidden");
      }
    }
  }
  state.counters["tokens"] = double(ids.size());
  state.counters["compile_us"] = quantile(compile, 0.5);
  state.counters["first_mean_us"] = mean(first);
  state.counters["first_median_us"] = quantile(first, 0.5);
  state.counters["later_mean_us"] = mean(later);
  state.counters["later_median_us"] = quantile(later, 0.5);
  state.counters["later_p99_us"] = quantile(later, 0.99);
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
