// quant/encode_ternary.cpp — TQ1_0 and TQ2_0, blocks of -d, 0 and d. Weights that are ternary
// already come back exactly, as they do from ggml's encoder, whose d is the largest magnitude.
// Others get the d of least squares: whatever it is, the numbers farthest from 0 become ±d and the
// rest 0, so that trying each count of them finds it.
#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "quant/encode_block.h"
#include "quant/encode_fit.h"
#include "quant/half.h"
#include "quant/pack_codes.h"

namespace lm {
namespace {

constexpr int kElems = 256;

// d >= 0 of least Σ w (x - d q)², q in {-1, 0, 1}. With q fixed it is Σ w |x| / Σ w of those that
// are not 0, and lowers the error by (Σ w |x|)² / Σ w.
float fit_ternary(const float* x, const float* w) {
  std::array<int, kElems> order;
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [x](int a, int b) {
    const float left = std::fabs(x[a]), right = std::fabs(x[b]);
    return left > right || (left == right && a < b);
  });
  double sum = 0, weight = 0, most = 0, best = 0;
  for (const int j : order) {
    sum += double(w[j]) * std::fabs(x[j]);
    weight += w[j];
    const double gain = sum * sum / weight;
    if (!(gain > most)) continue;
    most = gain;
    best = sum / weight;
  }
  return float(best);
}

template <class Block>
void encode_ternary(const float* x, const float* w, Block& block) {
  block.d = stored_scale(fit_ternary(x, weights_or_ones(w)));
  const float inv = inverse(f16_to_f32(block.d));
  int q[kElems];
  for (int first = 0; first < kElems; first += kGroup) {
    float whole[kGroup];
    quantize(x + first, inv, 0, -1, 1, whole);
    for (int j = 0; j < kGroup; ++j) q[first + j] = int(whole[j]) + 1;
  }
  set_codes(q, block);
}

}  // namespace

void encode_block(const float* x, const float* w, EncodePath, BlockTQ1_0& block) {
  encode_ternary(x, w, block);
}
void encode_block(const float* x, const float* w, EncodePath, BlockTQ2_0& block) {
  encode_ternary(x, w, block);
}

}  // namespace lm
