// Which instruction-set table is used, and that the tables agree with each other.
#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "tests/cpu/harness.h"

using namespace lm;
using namespace lm::test;

namespace {

bool usable(std::string_view isa) {
  const std::vector<std::string_view> isas = cpu::usable_isas();
  return std::find(isas.begin(), isas.end(), isa) != isas.end();
}

Result<std::unique_ptr<Backend>> open_with(const std::string& isa) {
  return cpu::registry_entry().open("cpu", {.n_threads = 1, .isa = isa});
}

// The same linears on two tables. Integer formats add the same integers, so that only fused and
// unfused f32 sums differ: each is within roundings · u · Σ|x|(|w| + max|w|) of the truth, where a
// step of 32 rounds at most 6 times, a product of floats once.
void compare_tables(std::string_view a, std::string_view b) {
  const auto backend_a = open_cpu(a, 2), backend_b = open_cpu(b, 2);
  Random random(51);
  const int64_t n = 3, m = 40, k = 512;
  for (const DType type : {DType::f32, DType::q8_0, DType::q4_0, DType::q4_K, DType::q6_K}) {
    const TestWeight host = random_weight(type, {1, 1, m, k}, random);
    const std::vector<float> x = random_floats(n * k, random);
    const auto run = [&](Backend& backend) {
      const LoadedWeight weight = require_ok(backend.load_weight(host.host(), WeightUse::matrix));
      const Guarded tx(backend, {1, 1, n, k}, x), out(backend, {1, 1, n, m});
      backend.linear({.x = tx, .weight = weight.tensor, .out = out});
      return out.floats();
    };
    const std::vector<float> first = run(*backend_a), second = run(*backend_b);
    const double roundings = type == DType::f32 ? double(k) + 1 : double(k) / 32 * 6 + 4;
    for (size_t i = 0; i < first.size(); ++i) {
      const float* row = host.values.data() + int64_t(i) % m * k;
      const float* column = x.data() + int64_t(i) / m * k;
      double largest = 0, size = 0;
      for (int64_t j = 0; j < k; ++j) largest = std::max(largest, double(std::abs(row[j])));
      for (int64_t j = 0; j < k; ++j) size += std::abs(column[j]) * (std::abs(row[j]) + largest);
      REQUIRE(std::abs(first[i] - second[i]) <= 2 * roundings * kRounding * size);
    }
  }
}

}  // namespace

TEST_CASE("isa: the best usable table is chosen, LLM_CPU or an option forces another") {
  const std::vector<std::string_view> isas = cpu::usable_isas();
  REQUIRE(isas.front() == "scalar");
  unsetenv("LLM_CPU");
  CHECK(std::string(require_ok(open_with(""))->detail()) ==
        std::string(isas.back()) + ", 1 thread");
  setenv("LLM_CPU", "scalar", 1);
  CHECK(std::string(require_ok(open_with(""))->detail()) == "scalar, 1 thread");
  // What the caller asks for goes before the environment.
  CHECK(std::string(require_ok(open_with(std::string(isas.back())))->detail()) ==
        std::string(isas.back()) + ", 1 thread");
  setenv("LLM_CPU", "pentium\n", 1);
  const auto refused = open_with("");
  unsetenv("LLM_CPU");
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code == ErrorCode::bad_request);
  CHECK(refused.error().message.find("pentium?") != std::string::npos);
  CHECK(refused.error().message.find("scalar") != std::string::npos);
}

TEST_CASE("isa: a table that this machine can't run is refused by name") {
  for (const char* isa : {"avx2", "avxvnni", "avx512", "avx512vbmi"}) {
    const auto opened = open_with(isa);
    REQUIRE(opened.ok() == usable(isa));
    if (!opened.ok()) {
      CHECK(opened.error().code == ErrorCode::bad_request);
      CHECK(opened.error().message.find(isa) != std::string::npos);
    }
  }
}

TEST_CASE("isa: threads out of range are refused") {
  CHECK_FALSE(cpu::registry_entry().open("cpu", {.n_threads = -1, .isa = ""}).ok());
  CHECK_FALSE(cpu::registry_entry().open("cpu", {.n_threads = 1 << 20, .isa = ""}).ok());
}

TEST_CASE("isa: avx2 agrees with scalar") {
  if (!usable("avx2")) LM_SKIP("this processor has no AVX2");
  compare_tables("scalar", "avx2");
}

TEST_CASE("isa: avxvnni agrees with scalar") {
  if (!usable("avxvnni")) LM_SKIP("this processor has no AVX-VNNI");
  compare_tables("scalar", "avxvnni");
}

TEST_CASE("isa: avx512 agrees with scalar") {
  if (!usable("avx512")) LM_SKIP("this processor has no AVX-512 VNNI");
  compare_tables("scalar", "avx512");
}

TEST_CASE("isa: avx512vbmi makes the bits of avx512, for every type") {
  if (!usable("avx512vbmi")) LM_SKIP("this processor has no AVX-512 VBMI");
  const auto plain = open_cpu("avx512", 2), faster = open_cpu("avx512vbmi", 2);
  Random random(52);
  for (int i = 0; i < kDTypeCount; ++i) {
    const DType type = DType(i);
    INFO(std::string(dtype_name(type)));
    const int64_t m = 67, k = 3 * 256;
    const TestWeight host = random_weight(type, {1, 1, m, k}, random);
    for (const int64_t n : {1, 2, 21}) {
      const std::vector<float> x = random_floats(n * k, random);
      const auto run = [&](Backend& backend) {
        const LoadedWeight weight = require_ok(backend.load_weight(host.host(), WeightUse::matrix));
        const Guarded tx(backend, {1, 1, n, k}, x), out(backend, {1, 1, n, m});
        backend.linear({.x = tx, .weight = weight.tensor, .out = out});
        return out.floats();
      };
      REQUIRE(same_bits(run(*plain), run(*faster)));
    }
  }
}
