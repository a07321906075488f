// tests/cpu/harness.h — what the op tests share: every usable instruction set and several thread
// counts, tensors between guard zones, weights of every type, and the error bounds.
//
// Bounds. u = 2^-24 is the rounding error of one f32 operation. A sum of n products, in any order
// and fused or not, is off by at most (n + 1) u Σ|aᵢ bᵢ| to first order (Higham, Accuracy and
// Stability of Numerical Algorithms, 3.1). Each test adds what its operation does on top.
#pragma once
#include <cstddef>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "backends/cpu/cpu_backend.h"
#include "tests/cpu/guarded.h"
#include "tests/support/support.h"

namespace lm::test {

inline constexpr double kRounding = 5.9604644775390625e-08;  // u = 2^-24
inline constexpr double kUnderflow = 1e-37;                  // where f32 loses relative precision

std::unique_ptr<Backend> open_cpu(std::string_view isa, int n_threads);

// Runs body(isa) for each table of this machine, inside a doctest INFO naming it.
template <class Body>
void for_each_isa(const Body& body) {
  for (const std::string_view isa : cpu::usable_isas()) {
    INFO("instruction set ", std::string(isa));
    body(isa);
  }
}

// A random weight of any type: encoded normal numbers, or random bytes whose numbers are <= 4
// (integers: <= 255).
struct TestWeight {
  DType dtype;
  std::array<int64_t, 4> shape;
  std::vector<std::byte> bytes;
  std::vector<float> values;  // decoded
  HostTensor host() const { return {dtype, shape, bytes}; }
};
TestWeight random_weight(DType dtype, std::array<int64_t, 4> shape, Random& random);

std::vector<float> random_floats(int64_t n, Random& random, float scale = 1);
bool same_bits(const std::vector<float>& a, const std::vector<float>& b);

// Limits that fit every test.
StepLimits test_limits();

}  // namespace lm::test
