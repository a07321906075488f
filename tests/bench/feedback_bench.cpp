// What quantizing by Hessians takes: adding to one, factoring it, and rounding rows with error
// feedback or with a clipping search. Operations as engine/tools/layerwise_cost.h counts them.
#include <benchmark/benchmark.h>

#include <cmath>

#include "engine/core/machine.h"
#include "quant/activation_scales.h"
#include "quant/error_feedback.h"

namespace lm::bench {
namespace {

constexpr int64_t kRows = 512;

std::vector<float> waves(int64_t n) {
  std::vector<float> values(static_cast<size_t>(n));
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = float(std::sin(double(i) * 12.9898) + std::sin(double(i) * 78.233));
  return values;
}

struct Inputs {
  int64_t cols;
  ThreadPool pool{usable_cores()};
  std::vector<float> x = waves(kRows * cols), w = waves(kRows * cols);
  Hessian hessian = Hessian::create(cols).value();
  explicit Inputs(int64_t n) : cols(n) {}

  const Hessian& finished() {
    hessian.add(x, kRows, pool);
    if (!hessian.finish().ok()) std::abort();
    return hessian;
  }
};

void count(benchmark::State& state, double operations) {
  state.counters["flops"] =
      benchmark::Counter(operations, benchmark::Counter::kIsIterationInvariantRate);
}

void hessian(benchmark::State& state) {
  Inputs in(state.range(0));
  for ([[maybe_unused]] auto _ : state) in.hessian.add(in.x, kRows, in.pool);
  count(state, double(in.cols) * double(in.cols) * kRows);
}
BENCHMARK(hessian)->ArgName("cols")->Arg(2048)->Arg(8192)->UseRealTime();

void factor(benchmark::State& state) {
  Inputs in(state.range(0));
  const Hessian& h = in.finished();
  for ([[maybe_unused]] auto _ : state) benchmark::DoNotOptimize(plan_feedback(h, {}, in.pool));
  count(state, std::pow(double(in.cols), 3) / 3);
}
BENCHMARK(factor)->ArgName("cols")->Arg(2048)->UseRealTime();

void feedback(benchmark::State& state, DType type) {
  Inputs in(2048);
  const FeedbackPlan plan = plan_feedback(in.finished(), {}, in.pool).value();
  std::vector<std::byte> out(row_bytes(type, kRows * in.cols));
  for ([[maybe_unused]] auto _ : state)
    quantize_with_feedback(plan, {.type = type}, in.w, kRows, out.data(), in.pool);
  count(state, double(kRows) * double(in.cols) * double(in.cols));
}
BENCHMARK_CAPTURE(feedback, q4_0, DType::q4_0)->UseRealTime();
BENCHMARK_CAPTURE(feedback, i4g128, DType::i4g128)->UseRealTime();
BENCHMARK_CAPTURE(feedback, q4_K, DType::q4_K)->UseRealTime();

void clipped(benchmark::State& state, DType type) {
  Inputs in(2048);
  const int block = dtype_info(type).block_elems;
  const BlockHessians blocks(in.finished(), {}, block);
  std::vector<std::byte> out(row_bytes(type, kRows * in.cols));
  for ([[maybe_unused]] auto _ : state)
    quantize_clipped(blocks, {.type = type}, in.w, kRows, out.data(), in.pool);
  count(state, 22.0 * double(kRows) * double(in.cols) * block);
}
BENCHMARK_CAPTURE(clipped, i4g128, DType::i4g128)->UseRealTime();
BENCHMARK_CAPTURE(clipped, q4_K, DType::q4_K)->UseRealTime();

void scale_search(benchmark::State& state) {
  Inputs in(2048);
  const Hessian& h = in.finished();
  for ([[maybe_unused]] auto _ : state)
    benchmark::DoNotOptimize(search_scales(h, {.type = DType::i4g128}, in.w, kRows, {}, in.pool));
  count(state, 80.0 * double(kRows) * double(in.cols) * double(in.cols));
}
BENCHMARK(scale_search)->UseRealTime();

}  // namespace
}  // namespace lm::bench
