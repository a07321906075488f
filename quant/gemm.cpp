// Blocks of c are the pieces of work: a block packs the strips of a and b that it needs (Goto and
// van de Geijn, "Anatomy of High-Performance Matrix Multiplication", ACM TOMS 2008) and runs a
// kernel of 6 rows by two vectors. Vectors run along the columns of c, so that their length does
// not change a sum. Products and sums are separate operations (no fused ones), as the project's
// compiler flags have it.
#include "quant/gemm.h"

#include <algorithm>
#include <cstring>
#include <vector>

namespace lm {
namespace {

constexpr int kRows = 6;          // of the kernel
constexpr int kBlockRows = 48;    // of c, in a piece of work
constexpr int kBlockCols = 128;   // likewise; a multiple of every kernel's columns
constexpr int kDepth = 256;       // of k, summed at once
constexpr int kMostColumns = 32;  // of a kernel

// tile [kRows][2 * lanes] = Σ_t a[t][r] b[t][j]
using Kernel = void (*)(const float* a, const float* b, int64_t depth, float* tile);

template <int kLanes>
[[gnu::always_inline]] inline void multiply(const float* a, const float* b, int64_t depth,
                                            float* tile) {
  using Vec [[gnu::vector_size(kLanes * 4)]] = float;
  Vec sums[kRows][2] = {};
  for (int64_t t = 0; t < depth; ++t) {
    Vec b0, b1;
    std::memcpy(&b0, b, sizeof b0);
    std::memcpy(&b1, b + kLanes, sizeof b1);
    for (int r = 0; r < kRows; ++r) {
      sums[r][0] += a[r] * b0;
      sums[r][1] += a[r] * b1;
    }
    a += kRows;
    b += 2 * kLanes;
  }
  std::memcpy(tile, sums, sizeof sums);
}

void multiply_plain(const float* a, const float* b, int64_t depth, float* tile) {
  multiply<4>(a, b, depth, tile);
}
#if defined(__x86_64__)
[[gnu::target("avx2")]] void multiply_avx2(const float* a, const float* b, int64_t depth,
                                           float* tile) {
  multiply<8>(a, b, depth, tile);
}
[[gnu::target("avx512f")]] void multiply_avx512(const float* a, const float* b, int64_t depth,
                                                float* tile) {
  multiply<16>(a, b, depth, tile);
}
#endif

struct Choice {
  Kernel kernel;
  int columns;
};

Choice choose_kernel() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return {multiply_avx512, 32};
  if (__builtin_cpu_supports("avx2")) return {multiply_avx2, 16};
#endif
  return {multiply_plain, 8};
}

struct Scratch {
  std::vector<float> a, b;  // [strips][depth][kRows], [strips][depth][columns]
};

// to[strip][t][i] = element (first + strip * width + i, t0 + t) of m; what lies beyond is 0.
void pack(const StridedMatrix& m, int64_t first, int64_t count, int64_t t0, int64_t depth,
          int width, float* to) {
  for (int64_t strip = 0; strip < count; strip += width) {
    const int64_t n = std::min<int64_t>(width, count - strip);
    const float* from = m.data + (first + strip) * m.row_step + t0 * m.col_step;
    for (int64_t t = 0; t < depth; ++t, from += m.col_step, to += width) {
      for (int64_t i = 0; i < n; ++i) to[i] = from[i * m.row_step];
      std::fill(to + n, to + width, 0.0f);
    }
  }
}

// The block of c that starts at (i0, j0).
void run_block(const Product& p, const Choice& choice, int64_t i0, int64_t j0, Scratch& scratch) {
  const int64_t m = std::min<int64_t>(kBlockRows, p.m - i0),
                n = std::min<int64_t>(kBlockCols, p.n - j0);
  const StridedMatrix b_columns{p.b.data, p.b.col_step, p.b.row_step};
  alignas(64) float tile[kRows * kMostColumns];
  for (int64_t t0 = 0; t0 < p.k; t0 += kDepth) {
    const int64_t depth = std::min<int64_t>(kDepth, p.k - t0);
    pack(p.a, i0, m, t0, depth, kRows, scratch.a.data());
    pack(b_columns, j0, n, t0, depth, choice.columns, scratch.b.data());
    for (int64_t j = 0; j < n; j += choice.columns) {
      for (int64_t i = 0; i < m; i += kRows) {
        choice.kernel(scratch.a.data() + i * depth, scratch.b.data() + j * depth, depth, tile);
        const int64_t rows = std::min<int64_t>(kRows, m - i),
                      cols = std::min<int64_t>(choice.columns, n - j);
        for (int64_t r = 0; r < rows; ++r) {
          float* c = p.c + (i0 + i + r) * p.c_row_step + j0 + j;
          for (int64_t l = 0; l < cols; ++l) c[l] += p.sign * tile[r * choice.columns + l];
        }
      }
    }
  }
}

}  // namespace

void add_product(const Product& p, ThreadPool& pool) {
  if (p.m <= 0 || p.n <= 0 || p.k <= 0) return;
  const Choice choice = choose_kernel();
  std::vector<Scratch> scratch(size_t(pool.size()));
  for (Scratch& s : scratch) {
    s.a.resize(size_t(kBlockRows) * kDepth);
    s.b.resize(size_t(kBlockCols) * kDepth);
  }
  const int64_t across = (p.n + kBlockCols - 1) / kBlockCols,
                down = (p.m + kBlockRows - 1) / kBlockRows;
  pool.parallel_for(across * down, [&](int64_t block, int thread) {
    const int64_t i0 = block / across * kBlockRows, j0 = block % across * kBlockCols;
    if (p.upper_only && i0 >= j0 + kBlockCols) return;
    run_block(p, choice, i0, j0, scratch[size_t(thread)]);
  });
}

}  // namespace lm
