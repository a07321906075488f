// backends/cpu/workspace.h — the scratch memory of every operation, sized once by reserve().
#pragma once
#include <cstdint>

#include "backends/backend.h"
#include "backends/cpu/isa/kernels.h"
#include "backends/cpu/matmul.h"
#include "backends/cpu/memory.h"

namespace lm::cpu {

inline constexpr int kPanelGroup = 8;        // panels of a weight in one piece of work
inline constexpr int kDecodedColumns = 256;  // K-columns of a panel decoded to f32 at a time

// Rows [first, first + n) of sequence `seq`, which share a pass over the keys.
struct QueryTile {
  int32_t seq, first, n;
  int32_t first_segment = 0, n_segments = 0;  // of 256 keys that some row sees
  int64_t first_piece = 0, first_part = 0;    // where segments are spread over threads
};

// A segment's part of one query's attention: m, l and the sum. The parts of this many rows times
// segments are kept: half a million tokens of context for one row.
inline constexpr int64_t kPartSegments = 2048;
inline constexpr int64_t part_floats(int64_t head_dim) {
  return head_dim + 2;
}

// Where the rows chosen for each expert lie: sorted by expert, `first` of the next ends this one.
struct MoeRows {
  int32_t* first;  // [n_experts + 1]
  int32_t* row;    // [n · top_k]  row of x behind each place
  int32_t* place;  // [n, top_k]   where choice j of row i went
};

// Pieces of work [first, last) that are one thread's, unless others are done before it.
struct WorkRange {
  uint32_t first = 0, last = 0;
};
struct alignas(64) WorkShare {
  alignas(8) WorkRange range;
};

struct Workspace {
  static Result<Workspace> allocate(const StepLimits& limits, int n_threads, int lanes);

  // The private scratch of a thread, for one operation at a time.
  float* scratch(int thread) const { return thread_scratch + thread * thread_floats; }

  StepLimits limits;
  ActBlock* activations = nullptr;  // the quantized input of a linear
  int64_t activation_blocks = 0;
  float* thread_scratch = nullptr;
  int64_t thread_floats = 0;
  WorkShare* shares = nullptr;  // [n_threads]
  QueryTile* tiles = nullptr;   // [max_tokens]
  float* parts = nullptr;       // [kPartSegments · n_heads, part_floats(head_dim)]
  int64_t part_floats = 0;      // of all of them
  MoeRows moe{};
  float* moe_gate = nullptr;  // [max_tokens · top_k, d_ff_expert]
  float* moe_up = nullptr;    // likewise
  float* moe_down = nullptr;  // [max_tokens · top_k, max_linear_out]
  MatmulJob* jobs = nullptr;  // [max_jobs]
  int64_t max_jobs = 0;
  Pages pages;
};

// Floats of scratch that one thread needs.
int64_t matmul_scratch_floats(int lanes);
int64_t attention_scratch_floats(const StepLimits& limits);

}  // namespace lm::cpu
