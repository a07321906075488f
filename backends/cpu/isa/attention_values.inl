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

// Dimensions [d, d + n) of every query, n lanes of kVectors vectors.
template <class Values, int kQueries, int kVectors>
void value_tile(const WeightedSums& op, const float* weights, int d, int64_t n) {
  F sums[kQueries][kVectors];
  for (int i = 0; i < kQueries; ++i) {
    const float* acc = op.acc + int64_t(i) * op.head_dim + d;
    for (int v = 0; v < kVectors; ++v) {
      sums[i][v] = kVectors > 1 || n >= kLanes ? f_load(acc + v * kLanes) : f_load_n(acc, n);
    }
  }
  const int64_t row_bytes = int64_t(op.head_dim) * Values::kBytes;
  for (int r = 0; r < op.n_values; ++r) {
    const KvRun& run = op.values[r];
    const RunPart part = part_of(run, op.first, op.last);
    int64_t offset = (part.begin - run.first) * row_bytes + int64_t(d) * Values::kBytes;
    for (int j = part.begin; j < part.end; ++j, offset += row_bytes) {
      const uint8_t* row = run.data + offset;
      for (int b = 0; b < kVectors * kLanes * Values::kBytes; b += 64) {
        __builtin_prefetch(run.prefetch + offset + b, 0, 2);
      }
      F x[kVectors];
      for (int v = 0; v < kVectors; ++v) {
        const uint8_t* p = row + v * kLanes * Values::kBytes;
        x[v] = kVectors > 1 ? Values::load(p) : load_lanes<Values>(p, n);
      }
      for (int i = 0; i < kQueries; ++i) {
        const F w = f_set(weights[i * kSegment + j]);
        for (int v = 0; v < kVectors; ++v) sums[i][v] = f_fma(x[v], w, sums[i][v]);
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

template <class Values, int kQueries>
void weighted_sums_of(const WeightedSums& op) {
  float scaled[kQueries * kSegment];
  const int step = op.stride > 0 ? 32 : op.head_dim;
  for (int d = 0; d < op.head_dim;) {
    const int end = d + step;
    const float* weights = op.weights;
    if (op.stride > 0) {
      scale_weights<kQueries>(op, d / 32, scaled);
      weights = scaled;
    }
    // As many sums as leave registers for the values and a weight.
    if constexpr (kMaxColumns >= 2 * kQueries) {
      for (; d + 4 * kLanes <= end; d += 4 * kLanes) {
        value_tile<Values, kQueries, 4>(op, weights, d, 4 * kLanes);
      }
    }
    for (; d + 2 * kLanes <= end; d += 2 * kLanes) {
      value_tile<Values, kQueries, 2>(op, weights, d, 2 * kLanes);
    }
    for (; d < end; d += kLanes) value_tile<Values, kQueries, 1>(op, weights, d, end - d);
    d = end;
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
