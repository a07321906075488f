#include "tests/simt/warp_matrix.h"

#include <bit>
#include <cstring>

#include "quant/half.h"
#include "tests/simt/races/races.h"

namespace simt {
namespace {

constexpr uint32_t kWholeWarp = 0xffffffffu;

template <class T>
struct Fragments {
  T* d;               // [4]
  const uint32_t* a;  // [4]
  const uint32_t* b;  // [2]
};

template <int n>
void widen(const int8_t* from, int* to) {
  for (int i = 0; i < n; ++i) to[i] = from[i];
}
template <int n>
void widen(const uint16_t* from, double* to) {
  float values[n];
  for (int i = 0; i < n; ++i) values[i] = lm::f16_to_f32(from[i]);
  for (int i = 0; i < n; ++i) to[i] = values[i];
}
template <int n>
void widen(const uint32_t* from, double* to) {
  for (int i = 0; i < n; ++i) {
    if ((from[i] & 0x1fffu) != 0) fail("mma: a number has more bits than tf32");
    to[i] = std::bit_cast<float>(from[i]);
  }
}

// d += a b, in the emulation's own arrays, at indices that are plain to see: checking each of them
// took a sixth of the sanitized test_cuda.
template <class Sum, int kDepth>
__attribute__((no_sanitize("address"), no_sanitize("undefined"))) void multiply(
    const Sum (&a)[16][kDepth], const Sum (&b)[kDepth][8], Sum (&d)[16][8]) {
  for (int i = 0; i < 16; ++i) {
    for (int k = 0; k < kDepth; ++k) {
      for (int j = 0; j < 8; ++j) d[i][j] += a[i][k] * b[k][j];
    }
  }
}

// d[16, 8] += a[16, k] b[k, 8] with k = 8 elements of 4 / sizeof(Element) to a word: lane 4g + t
// holds row g (and g + 8) of a and column g of b, words t and t + 4 of each; of d, columns 2t and
// 2t + 1.
template <class T, class Element, class Sum>
void resolve_product(const Meeting* lanes, uint32_t) {
  constexpr int kDepth = 8 * 4 / int(sizeof(Element));
  uint32_t packed_a[16][8], packed_b[8][8];
  for (int lane = 0; lane < 32; ++lane) {
    const auto& mine = *static_cast<Fragments<T>*>(lanes[lane].operand);
    const int g = lane / 4, t = lane % 4;
    packed_a[g][t] = mine.a[0];
    packed_a[g + 8][t] = mine.a[1];
    packed_a[g][t + 4] = mine.a[2];
    packed_a[g + 8][t + 4] = mine.a[3];
    packed_b[g][t] = mine.b[0];
    packed_b[g][t + 4] = mine.b[1];
  }
  Element elements[24][kDepth];
  Sum a[16][kDepth], columns[8][kDepth], b[kDepth][8], d[16][8] = {};
  std::memcpy(elements, packed_a, sizeof packed_a);
  std::memcpy(elements[16], packed_b, sizeof packed_b);
  widen<16 * kDepth>(elements[0], a[0]);
  widen<8 * kDepth>(elements[16], columns[0]);
  for (int k = 0; k < kDepth; ++k) {
    for (int j = 0; j < 8; ++j) b[k][j] = columns[j][k];
  }
  multiply(a, b, d);
  for (int lane = 0; lane < 32; ++lane) {
    T* const mine = static_cast<Fragments<T>*>(lanes[lane].operand)->d;
    for (int i = 0; i < 4; ++i) {
      mine[i] = T(Sum(mine[i]) + d[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2]);
    }
  }
}

struct MatrixLoad {
  std::span<uint32_t> r;
  const void* row;
  bool transposed;
};

void resolve_load(const Meeting* lanes, uint32_t) {
  const auto load = [&](int lane) { return static_cast<MatrixLoad*>(lanes[lane].operand); };
  const size_t n = load(0)->r.size();
  for (size_t matrix = 0; matrix < n; ++matrix) {
    uint16_t m[8][8];
    for (int row = 0; row < 8; ++row) {
      const void* const from = load(int(matrix) * 8 + row)->row;
      if (reinterpret_cast<uintptr_t>(from) % 16 != 0) fail("ldmatrix: a row is not aligned to 16");
      if (!is_shared(from, 16)) fail("ldmatrix: a row is not in shared memory");
      std::memcpy(m[row], from, 16);
    }
    for (int lane = 0; lane < 32; ++lane) {
      const int g = lane / 4, t = lane % 4 * 2;
      const bool across = load(lane)->transposed;
      const uint32_t first = across ? m[t][g] : m[g][t];
      const uint32_t second = across ? m[t + 1][g] : m[g][t + 1];
      load(lane)->r[matrix] = first | second << 16;
    }
  }
}

}  // namespace

void mma_s8(int (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], const char* file,
            int line) {
  Fragments<int> operand = {d, a, b};
  meet_lanes(
      {kWholeWarp, "mma.m16n8k32.s8", {file, line}, &operand, &resolve_product<int, int8_t, int>});
}

void mma_f16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], const char* file,
             int line) {
  Fragments<float> operand = {d, a, b};
  meet_lanes({kWholeWarp,
              "mma.m16n8k16.f16",
              {file, line},
              &operand,
              &resolve_product<float, uint16_t, double>});
}

void mma_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], const char* file,
              int line) {
  Fragments<float> operand = {d, a, b};
  meet_lanes({kWholeWarp,
              "mma.m16n8k8.tf32",
              {file, line},
              &operand,
              &resolve_product<float, uint32_t, double>});
}

void load_matrix(std::span<uint32_t> r, const void* row, bool transposed, const char* file,
                 int line) {
  const Unwatched own;
  MatrixLoad operand = {r, row, transposed};
  if (running.races != nullptr && size_t(running.thread->lane) < 8 * r.size()) {
    running.races->access(row, 16, Access::read, __builtin_return_address(0));
  }
  meet_lanes({kWholeWarp, "ldmatrix", {file, line}, &operand, &resolve_load});
}

void copy_async_16(void* shared, const void* global, bool valid) {
  if (reinterpret_cast<uintptr_t>(shared) % 16 != 0) fail("cp.async: target is not aligned to 16");
  if (!is_shared(shared, 16)) fail("cp.async: target is not in shared memory");
  if (valid && reinterpret_cast<uintptr_t>(global) % 16 != 0) {
    fail("cp.async: source is not aligned to 16");
  }
  const Unwatched own;
  if (running.races != nullptr) {
    if (valid) running.races->access(global, 16, Access::read, __builtin_return_address(0));
    running.races->begin_write(shared, 16, __builtin_return_address(0));
  }
  std::memset(shared, 0xff, 16);
  Thread& thread = *running.thread;
  thread.copies.push_back({shared, global, valid, thread.n_commits});
}

void commit_copies() {
  ++running.thread->n_commits;
}

void wait_copies(int n_latest_groups_may_be_pending) {
  const Unwatched own;
  Races* const races = running.races;
  Thread& thread = *running.thread;
  const int done = thread.n_commits - n_latest_groups_may_be_pending;
  size_t n = 0;
  for (; n < thread.copies.size() && thread.copies[n].group < done; ++n) {
    const PendingCopy& copy = thread.copies[n];
    if (copy.valid) {
      std::memcpy(copy.to, copy.from, 16);
    } else {
      std::memset(copy.to, 0, 16);
    }
    if (races != nullptr) races->end_write(copy.to, 16, races->order().now(thread.number));
  }
  thread.copies.erase(thread.copies.begin(), thread.copies.begin() + std::ptrdiff_t(n));
}

}  // namespace simt
