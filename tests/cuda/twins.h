// tests/cuda/twins.h — kernels that try what the emulation says about the device: each instruction
// of backends/cuda/ptx.cuh and each built-in function, on inputs made from counters.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace lm::test {

struct Twin {
  std::string name;
  std::vector<uint32_t> words;  // what the kernel wrote: bits of results that are exact
};

// Empty: there is no device.
std::vector<Twin> run_twins();

// Functions whose last bits are the device's own: f(x), with x from first to last.
struct Curve {
  std::string name;
  double (*reference)(double);
  std::vector<float> x, y;
};
std::vector<Curve> run_curves();

}  // namespace lm::test
