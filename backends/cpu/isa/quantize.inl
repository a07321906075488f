// backends/cpu/isa/quantize.inl — activations rounded to 8 bits, with the sums that the integer
// kernels need (ActBlock).

namespace lm::cpu {
namespace {

// q = round-half-even(x · 127 / max|x|). The maximum is taken over the bits of |x|, where NaN is
// the largest: a block with a NaN or an infinity gets d = NaN or inf and spoils its row, visibly.
void quantize_block(const float* x, ActBlock* out) {
  I largest = i_set(0);
  for (int i = 0; i < 32; i += kLanes) {
    largest = i_max(largest, i_and(f_bits(f_load(x + i)), i_set(0x7FFFFFFF)));
  }
  const int32_t bits = i_largest(largest);
  float amax;
  __builtin_memcpy(&amax, &bits, 4);
  // Below 2^-120 the factor would overflow: such a block is zero.
  const float factor = amax > 0x1p-120f ? 127.0f / amax : 0.0f;
  // The sum's low bits are the rounded integer, above those of the number that is added.
  const F magic = f_set(kDotBiasValue);
  I sums[2] = {i_set(0), i_set(0)};
  for (int i = 0; i < 32; i += kLanes) {
    const I rounded = f_bits(f_add(f_mul(f_load(x + i), f_set(factor)), magic));
    i_store_low_bytes(out->q + i, rounded);
    sums[i / 16] = i_add(sums[i / 16], i_sar<24>(i_shl<24>(rounded)));
  }
  const int32_t lo = i_sum(sums[0]), hi = i_sum(sums[1]), sum = lo + hi;
  out->d = amax / 127.0f;
  out->d_sum = out->d * float(sum);
  out->d_sum_hi = out->d * float(hi);
  out->start_8 = kDotBias - 8 * sum;
  out->start_64 = kDotBias - 64 * sum;
  out->start_128 = kDotBias - 128 * sum;
  out->start_lo_32 = kDotBias - 32 * lo;
  out->start_hi_32 = kDotBias - 32 * hi;
}

void quantize(const float* x, int64_t n, ActBlock* out) {
  for (int64_t b = 0; b < n / 32; ++b) quantize_block(x + 32 * b, out + b);
}

}  // namespace
}  // namespace lm::cpu
