// Matrix times columns, for each weight format: bytes of weights and operations a second. The
// matrices of one run are together larger than a cache, as those of a model are.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <string>

#include "engine/tools/recipes.h"
#include "engine/tools/synthetic.h"
#include "tests/bench/room.h"

namespace lm::bench {
namespace {

constexpr int64_t kRows = 4096;
constexpr size_t kWorkingSet = size_t{768} << 20;  // bytes

void linear(benchmark::State& state, DType type) {
  Room room;
  const int64_t columns = state.range(0);
  const size_t bytes = size_t(kRows) * row_bytes(type, kModel);
  const std::vector<std::byte> blocks =
      random_blocks(type, bytes / size_t(dtype_info(type).block_bytes), 0.02, 1);
  // Many columns are bound by arithmetic: one matrix will do.
  const size_t n_matrices = columns > 16 ? 1 : std::max<size_t>(1, kWorkingSet / bytes);
  std::vector<std::vector<std::byte>> copies(n_matrices, blocks);
  std::vector<LoadedWeight> weights;
  for (const std::vector<std::byte>& copy : copies) {
    const HostTensor host{type, {1, 1, kRows, kModel}, copy};
    weights.push_back(Room::value(room->load_weight(host, WeightUse::matrix)));
  }
  const Tensor x = room.numbers({1, 1, columns, kModel});
  const Tensor out = room.tensor({1, 1, columns, kRows});
  size_t next = 0;
  for ([[maybe_unused]] auto _ : state) {
    room->linear({.x = x, .weight = weights[next].tensor, .out = out});
    next = (next + 1) % weights.size();
  }
  state.SetBytesProcessed(state.iterations() * int64_t(bytes));
  state.counters["ops"] =
      benchmark::Counter(double(state.iterations()) * 2 * double(kRows * kModel * columns),
                         benchmark::Counter::kIsRate);
}

const bool kRegistered = [] {
  for (int i = 0; i < kDTypeCount; ++i) {
    const DType type = DType(i);
    if (!find_recipe(dtype_name(type)).ok()) continue;  // holds no weights
    const std::string name = "linear/" + std::string(dtype_name(type));
    benchmark::RegisterBenchmark(name.c_str(), linear, type)
        ->ArgName("columns")
        ->Arg(1)
        ->Arg(2)
        ->Arg(4)
        ->Arg(8)
        ->Arg(512)
        ->UseRealTime()
        ->Unit(benchmark::kMicrosecond);
  }
  return true;
}();

}  // namespace
}  // namespace lm::bench
