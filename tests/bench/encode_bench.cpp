// What encoding a row into each format takes, on one thread: bytes of f32 a second.
#include <benchmark/benchmark.h>

#include <cmath>
#include <string>
#include <vector>

#include "quant/encode.h"

namespace lm::bench {
namespace {

constexpr size_t kNumbers = size_t{1} << 15;

void encode_row(benchmark::State& state, DType type) {
  std::vector<float> x(kNumbers);
  for (size_t i = 0; i < x.size(); ++i)
    x[i] = float(std::sin(double(i) * 12.9898) + std::sin(double(i) * 78.233));
  std::vector<std::byte> blocks(row_bytes(type, int64_t(kNumbers)));
  const auto path = state.range(0) != 0 ? EncodePath::plain : EncodePath::best;
  for ([[maybe_unused]] auto _ : state) encode(type, x, blocks.data(), {}, path);
  state.SetBytesProcessed(state.iterations() * int64_t(kNumbers * sizeof(float)));
}

const bool kRegistered = [] {
  for (int i = 0; i < kDTypeCount; ++i) {
    const DType type = DType(i);
    if (!can_encode(type) || dtype_info(type).block_elems == 1) continue;
    const std::string name = "encode/" + std::string(dtype_name(type));
    benchmark::RegisterBenchmark(name.c_str(), encode_row, type)
        ->ArgName("plain")
        ->Arg(0)
        ->Arg(1)
        ->Unit(benchmark::kMicrosecond);
  }
  return true;
}();

}  // namespace
}  // namespace lm::bench
