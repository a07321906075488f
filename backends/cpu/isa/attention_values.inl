// backends/cpu/isa/attention_values.inl — softmax weights times values. Lanes are dimensions, keys
// are added in order: how many queries a call carries, or how a range of keys is cut, changes
// nothing.

namespace lm::cpu {
namespace {

// The part of a run that lies in [first, last).
struct RunPart {
  int begin, end;
};
RunPart part_of(const KvRun& run, int first, int last) {
  const int end = run.first + run.n;
  return {run.first > first ? run.first : first, end < last ? end : last};
}

// Dimensions [d, d + n) of every query, n lanes of kVectors vectors, which share kWeights rows of
// weights: rows of one query are kQueries apart.
template <class Values, int kQueries, int kVectors, int kWeights = 1>
void value_tile(const WeightedSums& op, const float* weights, int d, int64_t n) {
  F sums[kQueries][kVectors];
  for (int i = 0; i < kQueries; ++i) {
    const float* acc = op.acc + int64_t(i) * op.head_dim + d;
    for (int v = 0; v < kVectors; ++v) {
      sums[i][v] = kVectors > 1 || n >= kLanes ? f_load(acc + v * kLanes) : f_load_n(acc, n);
    }
  }
  const int64_t row_bytes = int64_t(op.head_dim) * Values::kBytes;
  constexpr int kTileBytes = kVectors * kLanes * (32 * Values::kBytes + Values::kScaleBytes) / 32;
  for (int r = 0; r < op.n_values; ++r) {
    const KvRun& run = op.values[r];
    const RunPart part = part_of(run, op.first, op.last);
    int64_t offset = (part.begin - run.first) * row_bytes + int64_t(d) * Values::kBytes;
    const uint8_t* prefetch = run.prefetch + d / (kVectors * kLanes) * int64_t(run.n) * kTileBytes +
                              (part.begin - run.first) * kTileBytes;
    for (int j = part.begin; j < part.end; ++j, offset += row_bytes, prefetch += kTileBytes) {
      const uint8_t* row = run.data + offset;
      fetch_ahead<kTileBytes>(prefetch);
      F x[kVectors];
      for (int v = 0; v < kVectors; ++v) {
        const uint8_t* p = row + v * kLanes * Values::kBytes;
        x[v] = kVectors > 1 ? Values::load(p) : load_lanes<Values>(p, n);
      }
      for (int i = 0; i < kQueries; ++i) {
        for (int v = 0; v < kVectors; ++v) {
          const int weight_row = v * kWeights / kVectors * kQueries + i;
          sums[i][v] = f_fma(x[v], f_set(weights[weight_row * kSegment + j]), sums[i][v]);
        }
      }
    }
  }
  for (int i = 0; i < kQueries; ++i) {
    float* acc = op.acc + int64_t(i) * op.head_dim + d;
    for (int v = 0; v < kVectors; ++v) {
      if (kVectors > 1 || n >= kLanes) {
        f_store(acc + v * kLanes, sums[i][v]);
      } else {
        f_store_n(acc, sums[i][v], n);
      }
    }
  }
}

// scaled[i][j] = weights[i][j] · the scale of key j's block `block`.
template <int kQueries>
void scale_weights(const WeightedSums& op, int block, float* scaled) {
  for (int r = 0; r < op.n_values; ++r) {
    const KvRun& run = op.values[r];
    const RunPart part = part_of(run, op.first, op.last);
    const uint8_t* scales = run.scales + 2 * (block * op.stride + part.begin - run.first);
    for (int j = part.begin; j < part.end; j += kLanes, scales += 2 * kLanes) {
      const int n = part.end - j;
      const F scale = load_lanes<F16Values>(scales, n);
      for (int i = 0; i < kQueries; ++i) {
        const float* w = op.weights + i * kSegment + j;
        float* out = scaled + i * kSegment + j;
        if (n >= kLanes) {
          f_store(out, f_mul(f_load(w), scale));
        } else {
          f_store_n(out, f_mul(f_load_n(w, n), scale), n);
        }
      }
    }
  }
}

// Whether sums of four vectors leave registers for the values and a weight.
template <int kQueries>
constexpr bool kFourVectors = kMaxColumns >= 2 * kQueries;

// Dimensions [d, end) with one weight a key.
template <class Values, int kQueries>
void sum_dimensions(const WeightedSums& op, const float* weights, int d, int end) {
  if constexpr (kFourVectors<kQueries>) {
    for (; d + 4 * kLanes <= end; d += 4 * kLanes) {
      value_tile<Values, kQueries, 4>(op, weights, d, 4 * kLanes);
    }
  }
  for (; d + 2 * kLanes <= end; d += 2 * kLanes) {
    value_tile<Values, kQueries, 2>(op, weights, d, 2 * kLanes);
  }
  for (; d < end; d += kLanes) value_tile<Values, kQueries, 1>(op, weights, d, end - d);
}

template <class Values, int kQueries>
void weighted_sums_of(const WeightedSums& op) {
  if (op.stride == 0) return sum_dimensions<Values, kQueries>(op, op.weights, 0, op.head_dim);
  // Blocks of 32 dimensions have weights of their own; two of them are one pass where they can.
  constexpr int kBlocks = kFourVectors<kQueries> && 4 * kLanes == 64 ? 2 : 1;
  float scaled[kBlocks * kQueries * kSegment];
  int d = 0;
  if constexpr (kBlocks == 2) {
    for (; d + 64 <= op.head_dim; d += 64) {
      scale_weights<kQueries>(op, d / 32, scaled);
      scale_weights<kQueries>(op, d / 32 + 1, scaled + kQueries * kSegment);
      value_tile<Values, kQueries, 4, 2>(op, scaled, d, 64);
    }
  }
  for (; d < op.head_dim; d += 32) {
    scale_weights<kQueries>(op, d / 32, scaled);
    sum_dimensions<Values, kQueries>(op, scaled, d, d + 32);
  }
}

template <class Values, int kQueries = kMaxColumns>
void weighted_sums(const WeightedSums& op) {
  if constexpr (kQueries > 1) {
    if (op.n_queries < kQueries) return weighted_sums<Values, kQueries - 1>(op);
  }
  weighted_sums_of<Values, kQueries>(op);
}

}  // namespace
}  // namespace lm::cpu
