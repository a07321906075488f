// cuda_linear_bench: linear layers on the device of this machine, from one row to a long prompt, in
// the shapes of an 8B model, against what the device does at best (Backend::measure_limits).
// usage: cuda_linear_bench [off]   off: without wgmma
#include <cstring>
#include <string_view>
#include <vector>

#include "quant/encode.h"
#include "tests/cuda/bench.h"

using namespace lm;
using namespace lm::test;

namespace {

struct Shape {
  int64_t m, k;
};
constexpr Shape kShapes[] = {{4096, 4096}, {6144, 4096}, {28672, 4096}, {4096, 14336}};
constexpr DType kTypes[] = {DType::q4_0, DType::q4_K, DType::q8_0, DType::f16};
constexpr int64_t kRows[] = {1, 8, 16, 32, 64, 128, 129, 256, 512, 2048, 4096};
constexpr int64_t kMostRows = 4096;

// Rows of a few kinds, over and over.
std::vector<std::byte> weight_bytes(DType type, Shape s) {
  constexpr int64_t kKinds = 32;
  std::vector<std::byte> kinds(row_bytes(type, kKinds * s.k));
  encode(type, numbers(kKinds * s.k), kinds.data());
  std::vector<std::byte> bytes(row_bytes(type, s.m * s.k));
  for (size_t at = 0; at < bytes.size(); at += kinds.size()) {
    std::memcpy(bytes.data() + at, kinds.data(), kinds.size());
  }
  return bytes;
}

// The first rows and columns of the memory of another.
Tensor part_of(Tensor t, int64_t rows, int64_t cols) {
  t.shape = {1, 1, rows, cols};
  t.row_bytes = cols * 4;
  return t;
}

void bench(Backend& backend, DType type, Shape s, Tensor in, Tensor out) {
  const std::vector<std::byte> bytes = weight_bytes(type, s);
  const LoadedWeight weight =
      checked(backend.load_weight({type, {1, 1, s.m, s.k}, bytes}, WeightUse::matrix));
  for (const int64_t n : kRows) {
    const Linear op{
        .x = part_of(in, n, s.k), .weight = weight.tensor, .out = part_of(out, n, s.m), .bias = {}};
    const double time = seconds(backend, n > 64 ? 10 : 50, [&](int) { backend.linear(op); });
    std::printf("%-5.*s %6lld %6lld %5lld %10.1f us %8.1f GB/s %8.1f TFLOP/s\n",
                int(dtype_name(type).size()), dtype_name(type).data(), (long long)s.m,
                (long long)s.k, (long long)n, time * 1e6, double(bytes.size()) / time * 1e-9,
                2e-12 * double(n) * double(s.m) * double(s.k) / time);
    std::fflush(stdout);
  }
}

}  // namespace

int main(int argc, char** argv) {
  BackendOptions options;
  options.wgmma = argc < 2 || std::string_view(argv[1]) != "off";
  const auto backend = checked(cuda::registry_entry().open("cuda:0", options));
  check(backend->reserve({.max_tokens = int(kMostRows),
                          .max_seqs = 1,
                          .max_linear_in = 14336,
                          .max_linear_out = 28672}));
  const DeviceLimits limits = checked(backend->measure_limits());
  std::printf("%s: reads %.0f GB/s, int8 %.0f TOP/s, f16 %.0f TFLOP/s; wgmma %s\n",
              std::string(backend->detail()).c_str(), limits.read_bytes_per_second * 1e-9,
              limits.int8_ops_per_second * 1e-12, limits.f16_flops_per_second * 1e-12,
              options.wgmma ? "where it is" : "off");
  std::printf("type       m      k  rows       time    of weights\n");
  Room room(*backend);
  const Tensor in = room.filled({1, 1, kMostRows, 14336}),
               out = room.empty({1, 1, kMostRows, 28672});
  for (const DType type : kTypes) {
    for (const Shape& shape : kShapes) bench(*backend, type, shape, in, out);
  }
  return 0;
}
