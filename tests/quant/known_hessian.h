// tests/quant/known_hessian.h — rows of random numbers, and their Hessian.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "engine/core/thread_pool.h"
#include "quant/hessian.h"
#include "tests/support/support.h"

namespace lm::test {

// [n, k], normal.
inline std::vector<float> normal_rows(int64_t n, int64_t k, uint64_t seed) {
  Random random(seed);
  std::vector<float> rows(size_t(n * k));
  for (float& v : rows) v = random.normal();
  return rows;
}

inline Hessian hessian_of(std::span<const float> rows, int64_t k, ThreadPool& pool) {
  Hessian hessian = require_ok(Hessian::create(k));
  hessian.add(rows, int64_t(rows.size()) / k, pool);
  require_ok(hessian.finish());
  return hessian;
}

}  // namespace lm::test
