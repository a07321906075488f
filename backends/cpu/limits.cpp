// All threads of the pool do the same loop over their share of the work, as in a step; the best of
// several rounds counts, because whatever else runs can only slow a round down.
#include "backends/cpu/limits.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>

#include "backends/cpu/memory.h"
#include "engine/core/machine.h"

namespace lm::cpu {
namespace {

constexpr int kRounds = 6;
constexpr double kMostSeconds = 1;                  // of one limit, unless a round takes longer
constexpr uint64_t kMostBytes = uint64_t{1} << 30;  // far beyond the last cache
constexpr uint64_t kLeastBytes = uint64_t{16} << 20;
constexpr int64_t kPiece = int64_t{2} << 20;  // bytes of memory that a thread takes at a time

using Clock = std::chrono::steady_clock;

// The highest `amount` per second; `round` does one and tells its amount.
template <class Round>
double best_rate(const Round& round) {
  double best = 0, spent = 0;
  for (int i = 0; i < kRounds && spent < kMostSeconds; ++i) {
    const Clock::time_point start = Clock::now();
    const double amount = round();
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    best = std::max(best, amount / std::max(seconds, 1e-9));
    spent += seconds;
  }
  return best;
}

Result<double> read_rate(const Kernels& kernels, ThreadPool& pool) {
  // A quarter of what is left: a model may be loaded beside it.
  const uint64_t wanted = std::clamp(available_memory() / 4, kLeastBytes, kMostBytes);
  const int64_t n_pieces = int64_t(wanted) / kPiece;
  const Pages pages = LM_TRY(Pages::map(size_t(n_pieces * kPiece)));
  const auto piece = [&](int64_t i) { return pages.base() + i * kPiece; };
  pool.parallel_for(n_pieces,
                    [&](int64_t i, int) { std::memset(piece(i), int(i & 0xFF), kPiece); });
  std::atomic<uint32_t> sink{0};  // what was read is used
  return best_rate([&] {
    pool.parallel_for(n_pieces, [&](int64_t i, int) {
      sink.fetch_xor(kernels.read_memory(piece(i), kPiece), std::memory_order_relaxed);
    });
    return double(n_pieces * kPiece);
  });
}

using Work = int64_t (*)(int64_t rounds, uint32_t& checksum);

double work_rate(Work work, ThreadPool& pool) {
  // As many turns of the loop as make a piece of a millisecond or more.
  int64_t turns = 64;
  uint32_t checksum = 0;
  for (Clock::duration took{}; took < std::chrono::milliseconds(1); turns *= 2) {
    const Clock::time_point start = Clock::now();
    work(turns, checksum);
    took = Clock::now() - start;
  }
  const int64_t n_pieces = 8 * int64_t(pool.size());
  std::atomic<uint32_t> sink{checksum};
  return best_rate([&] {
    std::atomic<int64_t> total{0};
    pool.parallel_for(n_pieces, [&](int64_t, int) {
      uint32_t sum = 0;
      total.fetch_add(work(turns, sum), std::memory_order_relaxed);
      sink.fetch_xor(sum, std::memory_order_relaxed);
    });
    return double(total.load());
  });
}

}  // namespace

Result<DeviceLimits> measure_limits(const Kernels& kernels, ThreadPool& pool) {
  DeviceLimits limits;
  limits.isa = kernels.name;
  limits.n_threads = pool.size();
  limits.read_bytes_per_second = LM_TRY(read_rate(kernels, pool));
  limits.int8_ops_per_second = work_rate(kernels.dot_bytes, pool);
  limits.f32_flops_per_second = work_rate(kernels.multiply_floats, pool);
  return limits;
}

}  // namespace lm::cpu
