#include "engine/sample/softmax.h"

#include <limits>

namespace lm {
namespace {

constexpr size_t kLanes = 8;  // independent partial sums: the compiler makes vectors of them

}  // namespace

float largest(std::span<const float> x) {
  float max[kLanes];
  for (float& lane : max) lane = -std::numeric_limits<float>::infinity();
  const size_t whole = x.size() / kLanes * kLanes;
  for (size_t i = 0; i < whole; i += kLanes) {
    for (size_t j = 0; j < kLanes; ++j) max[j] = x[i + j] > max[j] ? x[i + j] : max[j];
  }
  for (size_t i = whole; i < x.size(); ++i) max[0] = x[i] > max[0] ? x[i] : max[0];
  float all = max[0];
  for (const float lane : max) all = lane > all ? lane : all;
  return all;
}

float log_sum_exp_below(std::span<const float> x, float max) {
  double total = 0;
  constexpr size_t kChunk = 512;  // floats added before the sum goes on in double
  for (size_t begin = 0; begin < x.size(); begin += kChunk) {
    const std::span<const float> chunk = x.subspan(begin, std::min(kChunk, x.size() - begin));
    float sum[kLanes] = {};
    const size_t whole = chunk.size() / kLanes * kLanes;
    for (size_t i = 0; i < whole; i += kLanes) {
      float e[kLanes];
      for (size_t j = 0; j < kLanes; ++j) e[j] = exp_nonpositive(chunk[i + j] - max);
      for (size_t j = 0; j < kLanes; ++j) sum[j] += e[j];
    }
    for (size_t i = whole; i < chunk.size(); ++i) sum[0] += exp_nonpositive(chunk[i] - max);
    for (const float lane : sum) total += double(lane);
  }
  return float(std::log(total));
}

}  // namespace lm
