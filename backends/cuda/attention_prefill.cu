// Attention of many rows: bound by arithmetic. A block takes a tile of queries (the query heads of
// a KV head, row by row) and walks over the keys that they see, tile by tile, through shared
// memory; values arrive while scores are computed, and the next keys while values are added
// (FlashAttention-2, arXiv:2307.08691). Tiles of keys lie at fixed absolute positions, so that a
// row's bits depend on its own position alone.
#include <algorithm>

#include "backends/cuda/attention_softmax.cuh"
#include "backends/cuda/launch.h"
#include "backends/cuda/ops.h"
#include "engine/core/check.h"

namespace lm::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarp;
// Keys of a tile: fewer of the largest heads, so that the tiles fit what most devices have.
template <int kDim>
constexpr int kKeys = kDim > 128 ? 32 : 64;
template <int kDim>
constexpr int kKeyTiles = kKeys<kDim> / 8;

// Rows of halves in shared memory, so laid out that the same 16 bytes of eight rows lie in
// different banks: rows are 16 bytes longer than a head, or kTight, and the eight pieces of 64
// dimensions stand in another order in each (which takes registers for their addresses).
template <int kDim, int kRows, bool kTight>
struct HalfRows {
  static_assert(!kTight || kDim % 64 == 0);
  __half rows[kRows][kTight ? kDim : kDim + 8];
  __device__ static int place(int row, int dim) { return kTight ? dim ^ (row % 8 * 8) : dim; }
  __device__ void* at(int row, int dim) { return &rows[row][place(row, dim)]; }
  __device__ const void* at(int row, int dim) const { return &rows[row][place(row, dim)]; }
};

// kRowTiles: 16 queries each, of a warp.
template <int kDim, int kRowTiles>
struct SharedTiles {
  static constexpr int kQueries = kWarps * kRowTiles * 16;
  // Two blocks then have room in 100 KiB.
  static constexpr bool kTight = kDim == 128 && kRowTiles == 1;
  HalfRows<kDim, kQueries, kTight> queries;
  HalfRows<kDim, kKeys<kDim>, kTight> keys, values;
  KeyRange common;  // keys that every query of the tile sees
  // Of the cache, for this tile of keys and the next; -1: no query sees it.
  int32_t rows[2][kKeys<kDim>];
};

// A tile of queries of one sequence.
struct QueryTile {
  int sequence, first_row, n_rows, kv_len;
  int first_query, n_queries;
  __device__ int position(const AttentionParams& p, int query) const {
    return kv_len - n_rows + query / p.group;
  }
};

// The index-th tile from the end of the step: the longest walks begin first. By a whole warp.
__device__ bool find_tile(const AttentionParams& p, int queries, int index, QueryTile& tile) {
  const int lane = int(threadIdx.x) % kWarp;
  int before = 0;
  for (int first = (p.n_seqs - 1) / kWarp * kWarp; first >= 0; first -= kWarp) {
    const int s = first + kWarp - 1 - lane;
    const int row = s < p.n_seqs ? p.q_start[s] : 0;
    const int n_rows = s < p.n_seqs ? p.q_start[s + 1] - row : 0;
    const int n_tiles = n_rows > kMostDecodeRows ? (n_rows * p.group + queries - 1) / queries : 0;
    const int end = before + running_sum(n_tiles, lane);
    const unsigned found = __ballot_sync(kAllLanes, end - n_tiles <= index && index < end);
    before = __shfl_sync(kAllLanes, end, kWarp - 1);
    if (found == 0) continue;
    const int from = __ffs(int(found)) - 1;
    tile.sequence = first + kWarp - 1 - from;
    tile.first_row = __shfl_sync(kAllLanes, row, from);
    tile.n_rows = __shfl_sync(kAllLanes, n_rows, from);
    tile.kv_len = p.kv_len[tile.sequence];
    tile.first_query = (__shfl_sync(kAllLanes, end, from) - 1 - index) * queries;
    tile.n_queries = min(queries, tile.n_rows * p.group - tile.first_query);
    return true;
  }
  return false;
}

// Dimensions of a head: known when compiling, or not and then as many zeros more as make kDim.
template <class Rows, int kDim>
__device__ inline int head_dim_of(const AttentionParams& p) {
  return Rows::kPadded ? p.k.head_dim : kDim;
}

template <class Rows, int kDim, int kRowTiles>
__device__ void load_queries(const AttentionParams& p, const QueryTile& tile, int kv_head,
                             SharedTiles<kDim, kRowTiles>& s) {
  constexpr int kPieces = kDim / 4;
  const int head_dim = head_dim_of<Rows, kDim>(p);
  for (int i = int(threadIdx.x); i < s.kQueries * kPieces; i += kThreads) {
    const int query = i / kPieces, dim = i % kPieces * 4;
    uint2 halves = make_uint2(0, 0);
    if (query < tile.n_queries && dim < head_dim) {
      const int of_sequence = tile.first_query + query;
      const int64_t row = tile.first_row + of_sequence / p.group;
      const int head = kv_head * p.group + of_sequence % p.group;
      const float4 x =
          *reinterpret_cast<const float4*>(p.q + (row * p.n_heads + head) * p.q_stride + dim);
      halves =
          make_uint2(bits_of(__floats2half2_rn(x.x, x.y)), bits_of(__floats2half2_rn(x.z, x.w)));
    }
    *static_cast<uint2*>(s.queries.at(query, dim)) = halves;
  }
}

// How rows of the cache come to shared memory as halves: f16 on their own, q8_0 through registers.
// Rows that no query sees become zeros.
template <bool kIsPadded>
struct HalfCacheRows {
  static constexpr DType kType = DType::f16;
  static constexpr bool kPadded = kIsPadded;
  template <int kDim, bool kTight>
  __device__ static void load(const KvCacheView& cache, const int32_t (&rows)[kKeys<kDim>],
                              HalfRows<kDim, kKeys<kDim>, kTight>& to) {
    constexpr int kPieces = kDim / 8;
#pragma unroll 2  // more addresses at once than that do not fit beside the sums
    for (int i = int(threadIdx.x); i < kKeys<kDim> * kPieces; i += kThreads) {
      const int key = i / kPieces, dim = i % kPieces * 8;
      const int32_t row = rows[key];
      const int head_dim = kPadded ? cache.head_dim : kDim;
      const bool padding = kPadded && dim >= head_dim;
      const std::byte* from =
          cache.data + (int64_t(max(row, 0)) * head_dim + (padding ? 0 : dim)) * 2;
      copy_async_16(to.at(key, dim), from, row >= 0 && !padding);
    }
  }
};
using F16Rows = HalfCacheRows<false>;
using PaddedRows = HalfCacheRows<true>;  // heads of a multiple of 8 dimensions

struct Q8Rows {
  static constexpr DType kType = DType::q8_0;
  static constexpr bool kPadded = false;
  template <int kDim, bool kTight>
  __device__ static void load(const KvCacheView& cache, const int32_t (&rows)[kKeys<kDim>],
                              HalfRows<kDim, kKeys<kDim>, kTight>& to) {
    constexpr int kPieces = kDim / 8;
    for (int i = int(threadIdx.x); i < kKeys<kDim> * kPieces; i += kThreads) {
      const int key = i / kPieces, dim = i % kPieces * 8;
      const int32_t row = rows[key];
      uint4 halves = make_uint4(0, 0, 0, 0);
      if (row >= 0) {
        const std::byte* head = cache.data + row / cache.block_size * cache.head_bytes;
        const int token = row % cache.block_size;
        const uint2 codes = *reinterpret_cast<const uint2*>(head + token * kDim + dim);
        const __half2 scale = __half2half2(Q8Kv::scales(cache, head, token)[dim / 32]);
        const uint32_t low = codes.x ^ 0x80808080u, high = codes.y ^ 0x80808080u;
        halves = make_uint4(bits_of(__hmul2(halves_of_bytes<false>(low), scale)),
                            bits_of(__hmul2(halves_of_bytes<true>(low), scale)),
                            bits_of(__hmul2(halves_of_bytes<false>(high), scale)),
                            bits_of(__hmul2(halves_of_bytes<true>(high), scale)));
      }
      *static_cast<uint4*>(to.at(key, dim)) = halves;
    }
  }
};

// Where the keys from `first` lie, a thread each: row number, of all blocks, heads and tokens.
template <int kN>
__device__ void find_rows(const AttentionParams& p, const QueryTile& tile, int kv_head, int first,
                          KeyRange keys, int32_t (&rows)[kN]) {
  const int key = first + int(threadIdx.x);
  if (threadIdx.x >= kN) return;
  int32_t row = -1;
  if (key >= keys.begin && key < keys.end) {
    const unsigned block_size = unsigned(p.k.block_size);
    const int block = p.block_table[tile.sequence * p.table_stride + unsigned(key) / block_size];
    row = (block * p.k.n_heads + kv_head) * p.k.block_size + int(unsigned(key) % block_size);
  }
  rows[threadIdx.x] = row;
}

// scores[r] = the warp's queries times the tile's keys.
template <int kDim, int kRowTiles>
__device__ inline void multiply_keys(const SharedTiles<kDim, kRowTiles>& s,
                                     float (&scores)[kRowTiles][kKeyTiles<kDim>][4]) {
  const int lane = int(threadIdx.x) % kWarp, warp = int(threadIdx.x) / kWarp;
#pragma unroll
  for (int step = 0; step < kDim / 16; ++step) {
    uint32_t q[kRowTiles][4];
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) {
      const int row = (warp * kRowTiles + r) * 16 + lane % 16;
      load_matrix(q[r], s.queries.at(row, step * 16 + lane / 16 * 8));
    }
#pragma unroll
    for (int n = 0; n < kKeyTiles<kDim>; n += 2) {
      uint32_t k[4];
      load_matrix(k, s.keys.at(n * 8 + lane / 16 * 8 + lane % 8, step * 16 + lane / 8 % 2 * 8));
#pragma unroll
      for (int r = 0; r < kRowTiles; ++r) {
        mma_f16(scores[r][n], q[r], {k[0], k[1]});
        mma_f16(scores[r][n + 1], q[r], {k[2], k[3]});
      }
    }
  }
}

template <int kDim, int kRowTiles>
__device__ inline void add_values(const SharedTiles<kDim, kRowTiles>& s,
                                  const uint32_t (&weights)[kRowTiles][kKeyTiles<kDim> / 2][4],
                                  SoftmaxState<kDim / 8> (&states)[kRowTiles]) {
  const int lane = int(threadIdx.x) % kWarp;
#pragma unroll
  for (int step = 0; step < kKeyTiles<kDim> / 2; ++step) {
#pragma unroll
    for (int n = 0; n < kDim / 8; n += 2) {
      uint32_t v[4];
      load_matrix_transposed(v, s.values.at(step * 16 + lane % 16, n * 8 + lane / 16 * 8));
#pragma unroll
      for (int r = 0; r < kRowTiles; ++r) {
        mma_f16(states[r].sums[n], weights[r][step], {v[0], v[1]});
        mma_f16(states[r].sums[n + 1], weights[r][step], {v[2], v[3]});
      }
    }
  }
}

template <class Rows, int kDim, int kRowTiles>
__device__ void write_out(const AttentionParams& p, const QueryTile& tile, int kv_head,
                          const SoftmaxState<kDim / 8> (&states)[kRowTiles]) {
  const int n_pieces = head_dim_of<Rows, kDim>(p) / 8;
  const int lane = int(threadIdx.x) % kWarp, warp = int(threadIdx.x) / kWarp;
#pragma unroll
  for (int r = 0; r < kRowTiles; ++r) {
#pragma unroll
    for (int q = 0; q < 2; ++q) {
      const float l = whole_l(states[r], q);
      const int query = (warp * kRowTiles + r) * 16 + 8 * q + lane / 4;
      if (query >= tile.n_queries) continue;
      const int of_sequence = tile.first_query + query;
      const int64_t row = tile.first_row + of_sequence / p.group;
      const int head = kv_head * p.group + of_sequence % p.group;
      const float factor = final_factor(p, head, make_float2(states[r].m[q], l));
      float* out = p.out + (row * p.n_heads + head) * p.out_stride + 2 * (lane % 4);
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n) {
        if (n >= n_pieces) break;
        out[8 * n] = states[r].sums[n][2 * q] * factor;
        out[8 * n + 1] = states[r].sums[n][2 * q + 1] * factor;
      }
    }
  }
}

// Flops: 4 a query, key and dimension. Bytes: the keys and values of each tile, from the L2 cache.
template <class Rows, int kDim, int kRowTiles>
__global__ __launch_bounds__(kThreads, 2) void attention_prefill_kernel(AttentionParams p) {
  using Shared = SharedTiles<kDim, kRowTiles>;
  constexpr int kN = kKeys<kDim>;
  LM_SHARED(Shared, shared);
  Shared& s = *shared;
  wait_for_previous_kernel();
  allow_next_kernel();
  const int kv_head = int(blockIdx.x), warp = int(threadIdx.x) / kWarp,
            g = int(threadIdx.x) % kWarp / 4;
  QueryTile tile;
  if (!find_tile(p, Shared::kQueries, int(blockIdx.y), tile)) return;
  // That some query of the tile sees.
  const KeyRange keys = {keys_at(p, tile.position(p, tile.first_query)).begin,
                         tile.position(p, tile.first_query + tile.n_queries - 1) + 1};
  if (threadIdx.x == 0) {
    s.common = {keys_at(p, keys.end - 1).begin, tile.position(p, tile.first_query) + 1};
  }
  SoftmaxState<kDim / 8> states[kRowTiles];
  const int begin = keys.begin / kN * kN;
  load_queries<Rows>(p, tile, kv_head, s);
  find_rows(p, tile, kv_head, begin, keys, s.rows[0]);
  __syncthreads();
  Rows::load(p.k, s.rows[0], s.keys);
  commit_copies();
  for (int first = begin, now = 0; first < keys.end; first += kN, now = 1 - now) {
    wait_copies<0>();
    __syncthreads();  // the keys are there, and the values before have been added
    Rows::load(p.v, s.rows[now], s.values);
    commit_copies();
    find_rows(p, tile, kv_head, first + kN, keys, s.rows[1 - now]);
    float scores[kRowTiles][kKeyTiles<kDim>][4] = {};
    multiply_keys<kDim, kRowTiles>(s, scores);
    uint32_t weights[kRowTiles][kKeyTiles<kDim> / 2][4];
    const bool all_seen = first >= s.common.begin && first + kN <= s.common.end;
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) {
      scale_scores(p, scores[r]);
      if (!all_seen) {
        KeyRange seen[2];
        for (int q = 0; q < 2; ++q) {
          const int query = min((warp * kRowTiles + r) * 16 + 8 * q + g, tile.n_queries - 1);
          seen[q] = keys_at(p, tile.position(p, tile.first_query + query));
        }
        hide_keys(scores[r], first, seen);
      }
      soften(scores[r], states[r], weights[r]);
    }
    wait_copies<0>();
    __syncthreads();  // the values are there, and the keys have been used
    if (first + kN < keys.end) Rows::load(p.k, s.rows[1 - now], s.keys);
    commit_copies();
    add_values<kDim, kRowTiles>(s, weights, states);
  }
  write_out<Rows, kDim, kRowTiles>(p, tile, kv_head, states);
}

template <class Rows, int kDim, int kRowTiles>
struct PrefillKernel {
  using Shared = SharedTiles<kDim, kRowTiles>;

  static Status prepare(const DeviceFacts& facts) {
    if (size_t(facts.max_shared_bytes) < sizeof(Shared)) return ok();
    return allow_shared_bytes(attention_prefill_kernel<Rows, kDim, kRowTiles>, sizeof(Shared));
  }
  static void start(const Context& context, const AttentionParams& p) {
    // A sequence of more than kMostDecodeRows rows may begin a tile that it doesn't fill.
    const int sequences = std::min(p.n_seqs, p.n_tokens / (kMostDecodeRows + 1));
    const int tiles = p.n_tokens * p.group / Shared::kQueries + sequences;
    launch(context, attention_prefill_kernel<Rows, kDim, kRowTiles>,
           {.blocks = dim3(unsigned(p.k.n_heads), unsigned(tiles)),
            .threads = dim3(kThreads),
            .shared_bytes = sizeof(Shared)},
           p);
  }
};

struct Kernel {
  DType type;
  int head_dim;
  bool padded;  // fewer dimensions will do, if they are a multiple of 8
  size_t shared_bytes;
  Status (*prepare)(const DeviceFacts&);
  void (*start)(const Context&, const AttentionParams&);
};

template <class Rows, int kDim, int kRowTiles>
constexpr Kernel kernel_of() {
  using Of = PrefillKernel<Rows, kDim, kRowTiles>;
  return {Rows::kType, kDim, Rows::kPadded, sizeof(typename Of::Shared), &Of::prepare, &Of::start};
}

// More queries at a time first.
constexpr Kernel kKernels[] = {
    kernel_of<F16Rows, 64, 2>(),     kernel_of<F16Rows, 80, 2>(),
    kernel_of<F16Rows, 96, 2>(),     kernel_of<F16Rows, 96, 1>(),
    kernel_of<F16Rows, 128, 2>(),    kernel_of<F16Rows, 128, 1>(),
    kernel_of<F16Rows, 256, 1>(),    kernel_of<Q8Rows, 64, 2>(),
    kernel_of<Q8Rows, 96, 2>(),      kernel_of<Q8Rows, 96, 1>(),
    kernel_of<Q8Rows, 128, 2>(),     kernel_of<Q8Rows, 128, 1>(),
    kernel_of<Q8Rows, 256, 1>(),     kernel_of<PaddedRows, 64, 2>(),
    kernel_of<PaddedRows, 128, 1>(), kernel_of<PaddedRows, 256, 1>(),
};

// CUDA C++ Programming Guide: what each block takes of a multiprocessor beside its own.
constexpr size_t kReservedSharedBytes = 1024;
static_assert(2 * (sizeof(SharedTiles<128, 1>) + kReservedSharedBytes) <= 100 * 1024);

bool serves(const Kernel& kernel, const DeviceFacts& facts, DType type, int head_dim) {
  const bool does =
      kernel.padded ? head_dim < kernel.head_dim && head_dim % 8 == 0 : head_dim == kernel.head_dim;
  return does && kernel.type == type && kernel.shared_bytes <= size_t(facts.max_shared_bytes);
}

// A block alone has a warp for each scheduler of its multiprocessor, and nothing else to do while
// that waits: of the kernels that serve, those of the first one's size, the first whose blocks are
// small enough for two, or where none is, simply the first.
const Kernel* find_kernel(const DeviceFacts& facts, DType type, int head_dim) {
  const Kernel* first = nullptr;
  for (const Kernel& kernel : kKernels) {
    if (!serves(kernel, facts, type, head_dim)) continue;
    if (first == nullptr) first = &kernel;
    const size_t two_blocks = 2 * (kernel.shared_bytes + kReservedSharedBytes);
    const bool two_fit = two_blocks <= size_t(facts.multiprocessor_shared_bytes);
    if (two_fit && kernel.head_dim == first->head_dim) return &kernel;
  }
  return first;
}

}  // namespace

Status prepare_attention_prefill(const DeviceFacts& facts) {
  for (const Kernel& kernel : kKernels) LM_TRY(kernel.prepare(facts));
  return ok();
}

bool prefills(const Context& context, const AttentionParams& p, DType type) {
  return rows_are_aligned(p) && find_kernel(context.facts, type, p.k.head_dim) != nullptr;
}

void attention_prefill(const Context& context, const AttentionParams& params, DType type) {
  find_kernel(context.facts, type, params.k.head_dim)->start(context, params);
}

}  // namespace lm::cuda
