// backends/cpu/isa/softmax.inl — softmax over one part of the keys, or over a router's scores.

namespace lm::cpu {
namespace {

void soft_cap(float* s, int64_t n, float cap) {
  const F c = f_set(cap);
  map(s, s, n, s, [=](F x, F) { return f_mul(c, v_tanh(f_div(x, c))); });
}

SoftmaxPart softmax_part(float* s, int n) {
  const F lowest = f_set(-__builtin_inff());
  F largest = lowest;
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) largest = f_max(f_load(s + i), largest);
  float m = f_largest(largest);
  for (; i < n; ++i) m = s[i] > m ? s[i] : m;
  F sum = f_set(0);
  const F vm = f_set(m);
  for (i = 0; i + kLanes <= n; i += kLanes) {
    const F e = v_exp(f_sub(f_load(s + i), vm));
    f_store(s + i, e);
    sum = f_add(sum, e);
  }
  if (i < n) {
    f_store_n(s + i, v_exp(f_sub(f_load_n(s + i, n - i), vm)), n - i);
    sum = f_add(sum, f_load_n(s + i, n - i));
  }
  return {m, f_sum(sum)};
}

}  // namespace
}  // namespace lm::cpu
