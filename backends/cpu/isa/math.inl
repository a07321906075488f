// backends/cpu/isa/math.inl — exp, tanh, erf as polynomials over the vector vocabulary, so that
// they are the same function in every row, lane and tail. Valid for every input: NaN gives NaN.

namespace lm::cpu {
namespace {

// exp(x) = 2^n · e^r with n = round(x / ln 2), |r| <= ln 2 / 2, ln 2 split in two so that r is
// exact (Cody and Waite). e^r by its Taylor polynomial of degree 7: the next term is below
// 0.3466^8 / 8! = 5.2e-9, a tenth of an ulp. Below -87.3 the result is 0; above 88.3 that of 88.3.
F v_exp(F x) {
  const F clamped = f_if_less(f_set(88.3f), x, f_set(88.3f), x);
  // Adding 1.5 · 2^23 leaves round-to-nearest(x / ln 2) in the low bits: no conversion that could
  // overflow.
  const F magic = f_set(12582912.0f);
  const F shifted = f_fma(clamped, f_set(1.44269504f), magic);
  const F n = f_sub(shifted, magic);
  F r = f_fma(n, f_set(-0.693359375f), clamped);
  r = f_fma(n, f_set(2.12194440e-4f), r);
  F p = f_set(1.0f / 5040);
  p = f_fma(p, r, f_set(1.0f / 720));
  p = f_fma(p, r, f_set(1.0f / 120));
  p = f_fma(p, r, f_set(1.0f / 24));
  p = f_fma(p, r, f_set(1.0f / 6));
  p = f_fma(p, r, f_set(0.5f));
  p = f_fma(p, r, f_set(1.0f));
  p = f_fma(p, r, f_set(1.0f));
  const F power = i_bits(i_shl<23>(i_add(f_bits(shifted), i_set(127))));
  return f_if_less(x, f_set(-87.3f), f_set(0.0f), f_mul(p, power));
}

// tanh(x) = 1 - 2 / (exp(2x) + 1); below 0.35, where that cancels, by the first terms of its series
// (the next one is 62/2835·... < 1e-7 relative there: x^10 · 0.0036).
F v_tanh(F x) {
  const F magnitude = i_bits(i_and(f_bits(x), i_set(0x7FFFFFFF)));
  const F sign = i_bits(i_and(f_bits(x), i_set(int32_t(0x80000000))));
  const F e = v_exp(f_add(magnitude, magnitude));
  const F large = f_sub(f_set(1.0f), f_div(f_set(2.0f), f_add(e, f_set(1.0f))));
  const F x2 = f_mul(magnitude, magnitude);
  F p = f_set(62.0f / 2835);
  p = f_fma(p, x2, f_set(-17.0f / 315));
  p = f_fma(p, x2, f_set(2.0f / 15));
  p = f_fma(p, x2, f_set(-1.0f / 3));
  const F small = f_fma(f_mul(magnitude, x2), p, magnitude);
  const F result = f_if_less(magnitude, f_set(0.35f), small, large);
  return i_bits(i_or(f_bits(result), f_bits(sign)));
}

// erf(x) = 1 - (a1 t + ... + a5 t^5) exp(-x²), t = 1 / (1 + p x): Abramowitz and Stegun 7.1.26,
// absolute error 1.5e-7.
F v_erf(F x) {
  const F magnitude = i_bits(i_and(f_bits(x), i_set(0x7FFFFFFF)));
  const F sign = i_bits(i_and(f_bits(x), i_set(int32_t(0x80000000))));
  const F t = f_div(f_set(1.0f), f_fma(f_set(0.3275911f), magnitude, f_set(1.0f)));
  F p = f_set(1.061405429f);
  p = f_fma(p, t, f_set(-1.453152027f));
  p = f_fma(p, t, f_set(1.421413741f));
  p = f_fma(p, t, f_set(-0.284496736f));
  p = f_fma(p, t, f_set(0.254829592f));
  const F e = v_exp(f_mul(f_sub(f_set(0.0f), magnitude), magnitude));
  const F result = f_sub(f_set(1.0f), f_mul(f_mul(p, t), e));
  return i_bits(i_or(f_bits(result), f_bits(sign)));
}

// σ(x) = 1 / (1 + exp(-x))
F v_sigmoid(F x) {
  return f_div(f_set(1.0f), f_add(f_set(1.0f), v_exp(f_sub(f_set(0.0f), x))));
}

}  // namespace
}  // namespace lm::cpu
