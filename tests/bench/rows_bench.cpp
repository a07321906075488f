// What touches each activation a few times: norms, gates, the embedding; and sampling, which
// touches every logit.
#include <benchmark/benchmark.h>

#include <cmath>

#include "engine/sample/sampler.h"
#include "tests/bench/room.h"

namespace lm::bench {
namespace {

void rms_norm(benchmark::State& state) {
  Room room;
  const int64_t rows = state.range(0);
  const Tensor x = room.numbers({1, 1, rows, kModel});
  const Tensor weight = room.numbers({1, 1, 1, kModel});
  const Tensor out = room.tensor({1, 1, rows, kModel});
  for ([[maybe_unused]] auto _ : state) {
    room->rms_norm({.x = x, .weight = weight, .out = out, .eps = 1e-5f});
  }
  state.SetBytesProcessed(state.iterations() * rows * kModel * 8);  // reads and writes
}
BENCHMARK(rms_norm)->ArgName("rows")->Arg(1)->Arg(512)->UseRealTime();

void silu_gate(benchmark::State& state) {
  Room room;
  const int64_t rows = state.range(0);
  const Tensor gate = room.numbers({1, 1, rows, kFeedForward});
  const Tensor up = room.numbers({1, 1, rows, kFeedForward});
  const Tensor out = room.tensor({1, 1, rows, kFeedForward});
  for ([[maybe_unused]] auto _ : state) {
    room->glu({.gate = gate, .up = up, .out = out, .act = Act::silu});
  }
  state.SetBytesProcessed(state.iterations() * rows * kFeedForward * 12);
}
BENCHMARK(silu_gate)->ArgName("rows")->Arg(1)->Arg(512)->UseRealTime();

void sample(benchmark::State& state, void (*change)(SamplingParams&)) {
  constexpr size_t kVocabulary = 128256;
  std::vector<float> logits(kVocabulary), scratch(kVocabulary);
  for (size_t i = 0; i < kVocabulary; ++i) {
    logits[i] = 4 * float(std::sin(double(i) * 12.9898) + std::sin(double(i) * 78.233));
  }
  std::vector<TokenId> history(256);
  for (size_t i = 0; i < history.size(); ++i) history[i] = TokenId(i * 31);
  SamplingParams params;
  change(params);
  Sampler sampler(params);
  for ([[maybe_unused]] auto _ : state) {
    scratch = logits;  // the sampler changes them
    benchmark::DoNotOptimize(sampler.sample(scratch, history));
  }
  state.SetBytesProcessed(state.iterations() * int64_t(kVocabulary * sizeof(float)));
}
BENCHMARK_CAPTURE(sample, greedy, [](SamplingParams& p) { p.temperature = 0; });
BENCHMARK_CAPTURE(sample, defaults, [](SamplingParams&) {});
BENCHMARK_CAPTURE(sample, untruncated, [](SamplingParams& p) {
  p.top_k = 0;
  p.top_p = 1;
  p.min_p = 0;
});
BENCHMARK_CAPTURE(sample, penalties, [](SamplingParams& p) { p.repeat_penalty = 1.1f; });

}  // namespace
}  // namespace lm::bench

BENCHMARK_MAIN();
