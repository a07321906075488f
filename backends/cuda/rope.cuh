// backends/cuda/rope.cuh — by how much a pair of numbers turns. The angle is a position of up to
// 2^31 times a frequency: it is taken in f64 and brought to [-pi/4, pi/4], so that no position
// loses bits, and its sine and cosine are then taken in f32.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

namespace lm::cuda {

struct RopeTable {
  const float* inv_freq;
  int n_freqs;
  bool neox;
  float magnitude;

  // The two dimensions of pair i.
  __device__ int first_of(int i) const { return neox ? i : 2 * i; }
  __device__ int second_of(int i) const { return neox ? i + n_freqs : 2 * i + 1; }
  // The pair that dimension d < 2 * n_freqs belongs to.
  __device__ int pair_of(int d) const { return neox ? d % n_freqs : d / 2; }
};

struct Turn {
  float cos, sin;
};

__device__ inline Turn turn_of(const RopeTable& table, int i, int32_t position) {
  const double angle = double(position) * double(table.inv_freq[i]);
  const double quarters = rint(angle * 0.63661977236758134308);  // 2 / pi
  const float rest = float(fma(quarters, -1.57079632679489661923, angle));
  const int quarter = int(int64_t(quarters) & 3);
  const float c = cosf(rest), s = sinf(rest);
  const float cos = quarter % 2 == 0 ? c : s, sin = quarter % 2 == 0 ? s : c;
  return {(quarter == 1 || quarter == 2 ? -cos : cos) * table.magnitude,
          (quarter >= 2 ? -sin : sin) * table.magnitude};
}

__device__ inline float2 turned(float x0, float x1, const Turn& turn) {
  return make_float2(fmaf(x0, turn.cos, -(x1 * turn.sin)), fmaf(x0, turn.sin, x1 * turn.cos));
}

}  // namespace lm::cuda
