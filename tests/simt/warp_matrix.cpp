#include "tests/simt/warp_matrix.h"

#include <cstring>

#include "quant/half.h"

namespace simt {
namespace {

constexpr uint32_t kWholeWarp = 0xffffffffu;

template <class T>
struct Fragments {
  T* d;               // [4]
  const uint32_t* a;  // [4]
  const uint32_t* b;  // [2]
};

int8_t byte_of(uint32_t word, int i) {
  return int8_t(word >> 8 * i);
}
float half_of(uint32_t word, int i) {
  return lm::f16_to_f32(uint16_t(word >> 16 * i));
}

// d[16, 8] += a[16, k] b[k, 8] with k = 8 * kPerWord elements: lane 4g + t holds row g (and g + 8)
// of a and column g of b, words t and t + 4 of each; of d, columns 2t and 2t + 1.
template <class T, class Element, class Sum, int kPerWord, auto kElement>
void resolve_product(const Meeting* lanes, uint32_t) {
  constexpr int kDepth = 8 * kPerWord;
  Element a[16][kDepth];
  Element b[8][kDepth];
  const auto unpack = [](Element* to, uint32_t word) {
    for (int i = 0; i < kPerWord; ++i) to[i] = kElement(word, i);
  };
  for (int lane = 0; lane < 32; ++lane) {
    const auto& mine = *static_cast<Fragments<T>*>(lanes[lane].operand);
    const int g = lane / 4;
    const int low = lane % 4 * kPerWord, high = low + 4 * kPerWord;
    unpack(&a[g][low], mine.a[0]);
    unpack(&a[g + 8][low], mine.a[1]);
    unpack(&a[g][high], mine.a[2]);
    unpack(&a[g + 8][high], mine.a[3]);
    unpack(&b[g][low], mine.b[0]);
    unpack(&b[g][high], mine.b[1]);
  }
  for (int lane = 0; lane < 32; ++lane) {
    T* const d = static_cast<Fragments<T>*>(lanes[lane].operand)->d;
    for (int i = 0; i < 4; ++i) {
      const Element* const row = a[lane / 4 + (i >= 2 ? 8 : 0)];
      const Element* const column = b[lane % 4 * 2 + i % 2];
      Sum sum = 0;
      for (int k = 0; k < kDepth; ++k) sum += Sum(row[k]) * Sum(column[k]);
      d[i] = T(Sum(d[i]) + sum);
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
  meet_lanes({kWholeWarp,
              "mma.m16n8k32.s8",
              {file, line},
              &operand,
              &resolve_product<int, int8_t, int, 4, &byte_of>});
}

void mma_f16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], const char* file,
             int line) {
  Fragments<float> operand = {d, a, b};
  meet_lanes({kWholeWarp,
              "mma.m16n8k16.f16",
              {file, line},
              &operand,
              &resolve_product<float, float, double, 2, &half_of>});
}

void load_matrix(std::span<uint32_t> r, const void* row, bool transposed, const char* file,
                 int line) {
  MatrixLoad operand = {r, row, transposed};
  meet_lanes({kWholeWarp, "ldmatrix", {file, line}, &operand, &resolve_load});
}

void copy_async_16(void* shared, const void* global, bool valid) {
  if (reinterpret_cast<uintptr_t>(shared) % 16 != 0) fail("cp.async: target is not aligned to 16");
  if (!is_shared(shared, 16)) fail("cp.async: target is not in shared memory");
  if (valid && reinterpret_cast<uintptr_t>(global) % 16 != 0) {
    fail("cp.async: source is not aligned to 16");
  }
  std::memset(shared, 0xff, 16);
  Thread& thread = *running.thread;
  thread.copies.push_back({shared, global, valid, thread.n_commits});
}

void commit_copies() {
  ++running.thread->n_commits;
}

void wait_copies(int n_latest_groups_may_be_pending) {
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
  }
  thread.copies.erase(thread.copies.begin(), thread.copies.begin() + std::ptrdiff_t(n));
}

}  // namespace simt
