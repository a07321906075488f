// backends/cpu/isa/matmul.inl — a few panels of a weight times a few columns of activations.
// Lanes are output rows: no sum ever crosses lanes, and each lane adds its steps in order, so that
// a row's result cannot depend on its company. Few columns are bound by memory: each step is
// unpacked and used at once. Many are bound by arithmetic: a stretch of K is unpacked into the
// first level of cache, where all columns pass by it (Goto and van de Geijn,
// doi:10.1145/1356052.1356053, with the weights as the packed operand).

namespace lm::cpu {
namespace {

constexpr int64_t kPrefetchBytes = 4096;

// Step kSub of a block. Asks for as many bytes of a later block as the step itself has.
template <class Format, int kSub>
[[gnu::always_inline]] inline void unpack_step(const uint8_t* block, typename Format::Step& step) {
  constexpr int kBytes = Format::kBlockBytes, kSteps = Format::kStepsPerBlock;
  for (int i = kBytes * kSub / kSteps; i < kBytes * (kSub + 1) / kSteps; i += 64) {
    __builtin_prefetch(block + kPrefetchBytes + i);
  }
  Format::template unpack<kSub>(block, step);
  step.finish();
}

template <int kPanels, int kColumns>
[[gnu::always_inline]] inline void load_sums(const float* out, int64_t stride, bool resume,
                                             F (&acc)[kPanels][kColumns]) {
  unroll<kColumns>([&](auto c) {
    unroll<kPanels>(
        [&](auto p) { acc[p][c] = resume ? f_load(out + p * kLanes + c * stride) : f_set(0); });
  });
}
template <int kPanels, int kColumns>
[[gnu::always_inline]] inline void store_sums(float* out, int64_t stride,
                                              const F (&acc)[kPanels][kColumns]) {
  unroll<kColumns>([&](auto c) {
    unroll<kPanels>([&](auto p) { f_store(out + p * kLanes + c * stride, acc[p][c]); });
  });
}

// Panels [panel, panel + kPanels) times few columns: every step is unpacked and used.
template <class Format, int kPanels, int kColumns>
[[gnu::flatten]] void multiply_few(const Matmul& op, int panel, int column) {
  using Step = typename Format::Step;
  using Column = typename Step::Column;
  constexpr int kSteps = Format::kStepsPerBlock;
  const Column* x[kColumns];
  for (int c = 0; c < kColumns; ++c) x[c] = static_cast<const Column*>(op.x[column + c]);
  float* out = op.acc + panel * kLanes + column * op.acc_stride;
  F acc[kPanels][kColumns];
  load_sums(out, op.acc_stride, op.resume, acc);
  const uint8_t* block = op.panels + panel * op.panel_bytes;
  const int64_t n_steps = op.k / Format::kStep;
  for (int64_t i = 0; i < n_steps; i += kSteps, block += Format::kBlockBytes) {
    unroll<kSteps>([&](auto sub) {
      Step steps[kPanels];
      unroll<kPanels>(
          [&](auto p) { unpack_step<Format, sub.value>(block + p * op.panel_bytes, steps[p]); });
      add_step(steps, 1, x, i + sub, acc);
    });
  }
  store_sums(out, op.acc_stride, acc);
}

// Several panels at once: more chains of sums where few columns have few, and more streams from
// memory.
template <class Format, int kColumns>
void few_columns(const Matmul& op, int column) {
  constexpr int kPanels = kLanes == 1 || kColumns > 1 ? 1 : 2;
  int panel = 0;
  for (; panel + kPanels <= op.n_panels; panel += kPanels) {
    multiply_few<Format, kPanels, kColumns>(op, panel, column);
  }
  if constexpr (kPanels > 1) {
    for (; panel < op.n_panels; ++panel) multiply_few<Format, 1, kColumns>(op, panel, column);
  }
}

// Unpacked steps [0, n) of kPanels panels, `stride` steps apart, times kColumns columns. Asks for
// what lies `ahead` bytes after each column: the columns of the next tile.
template <class Step, int kPanels, int kColumns>
[[gnu::noinline, gnu::flatten]] void multiply_tile(const Step* steps, int64_t stride, int64_t first,
                                                   int64_t n, const void* const* columns,
                                                   int64_t ahead, float* out, int64_t out_stride) {
  using Column = typename Step::Column;
  constexpr int64_t kLine = 64 / int64_t(sizeof(Column));  // steps of a column in a line of cache
  const Column* x[kColumns];
  for (int c = 0; c < kColumns; ++c) x[c] = static_cast<const Column*>(columns[c]) + first;
  F acc[kPanels][kColumns];
  load_sums(out, out_stride, true, acc);
  for (int64_t line = 0; line < n; line += kLine) {
    unroll<kColumns>(
        [&](auto c) { __builtin_prefetch(reinterpret_cast<const char*>(x[c] + line) + ahead); });
    const int64_t end = n - line < kLine ? n : line + kLine;
    for (int64_t i = line; i < end; ++i) add_step(steps + i, stride, x, i, acc);
  }
  store_sums(out, out_stride, acc);
}

inline int64_t bytes_between(const void* a, const void* b) {
  return int64_t(reinterpret_cast<uintptr_t>(b) - reinterpret_cast<uintptr_t>(a));
}

// A stretch of K of kPanels panels, times all columns.
template <class Step, int kPanels>
void multiply_tiles(const Step* steps, int64_t stride, int64_t first, int64_t n, const Matmul& op,
                    int panel) {
  int column = 0;
  const auto run = [&](auto columns) {
    for (; column + columns <= op.n_cols; column += columns) {
      float* out = op.acc + panel * kLanes + column * op.acc_stride;
      const void* const* x = op.x + column;
      const int64_t ahead = column + columns < op.n_cols ? bytes_between(x[0], x[columns]) : 0;
      multiply_tile<Step, kPanels, columns.value>(steps, stride, first, n, x, ahead, out,
                                                  op.acc_stride);
    }
  };
  run(Index<Step::kTileColumns>());
  if constexpr (Step::kTileColumns > 4) run(Index<4>());
  if constexpr (Step::kTileColumns > 2) run(Index<2>());
  run(Index<1>());
}

// steps[i] = step `first` + i of a panel.
template <class Format>
[[gnu::noinline, gnu::flatten]] void unpack_steps(const uint8_t* panel, int64_t first, int64_t n,
                                                  typename Format::Step* steps) {
  constexpr int kSteps = Format::kStepsPerBlock;
  const uint8_t* block = panel + first / kSteps * Format::kBlockBytes;
  for (int64_t i = 0; i < n; i += kSteps, block += Format::kBlockBytes) {
    unroll<kSteps>([&](auto sub) { unpack_step<Format, sub.value>(block, steps[i + sub]); });
  }
}

template <class Format>
void many_columns(const Matmul& op) {
  using Step = typename Format::Step;
  constexpr int kPanels = Step::kTilePanels;
  // Unpacked weights take half of the first level of cache; a multiple of 8 steps.
  constexpr int64_t kStretch = kUnpackedBytes / int64_t(sizeof(Step)) / kPanels / 8 * 8;
  static_assert(kStretch >= 8);
  Step steps[kPanels * kStretch];
  const int64_t n_steps = op.k / Format::kStep;
  if (!op.resume) {
    for (int c = 0; c < op.n_cols; ++c) {
      for (int p = 0; p < op.n_panels; ++p) {
        f_store(op.acc + p * kLanes + c * op.acc_stride, f_set(0));
      }
    }
  }
  for (int64_t first = 0; first < n_steps; first += kStretch) {
    const int64_t n = n_steps - first < kStretch ? n_steps - first : kStretch;
    for (int panel = 0; panel < op.n_panels; panel += kPanels) {
      const int n_panels = op.n_panels - panel < kPanels ? op.n_panels - panel : kPanels;
      for (int p = 0; p < n_panels; ++p) {
        const uint8_t* source = op.panels + (panel + p) * op.panel_bytes;
        unpack_steps<Format>(source, first, n, steps + p * kStretch);
      }
      if (n_panels == kPanels) {
        multiply_tiles<Step, kPanels>(steps, kStretch, first, n, op, panel);
      } else {
        for (int p = 0; p < n_panels; ++p) {
          multiply_tiles<Step, 1>(steps + p * kStretch, kStretch, first, n, op, panel + p);
        }
      }
    }
  }
}

template <class Format>
void matmul(const Matmul& op) {
  if (op.n_cols > kMaxColumns) return many_columns<Format>(op);
  int column = 0;
  const auto run = [&](auto columns) {
    for (; column + columns <= op.n_cols; column += columns)
      few_columns<Format, columns>(op, column);
  };
  if constexpr (kMaxColumns >= 8) run(Index<8>());
  run(Index<4>());
  run(Index<2>());
  run(Index<1>());
}

}  // namespace
}  // namespace lm::cpu
