// backends/cpu/isa/matmul.inl — a few panels of a weight times a few columns of activations.
// Lanes are output rows: no sum ever crosses lanes, and each lane adds its steps in order, so that
// a row's result cannot depend on its company. Few columns are bound by memory: each step is
// unpacked into registers and used at once. Many are bound by arithmetic: a stretch of K is
// unpacked into the first level of cache, where all columns pass by it (Goto and van de Geijn,
// doi:10.1145/1356052.1356053, with the weights as the packed operand).

namespace lm::cpu {
namespace {

// How far ahead weights are asked for, in bytes. Few columns are bound by memory: the second level
// of cache can have enough lines on their way to keep it busy, the first alone cannot (86 % of the
// read bandwidth, both together 93 to 97 %). Some columns take as long to fetch as to multiply: the
// further ahead, the less one waits for the other (Q4_K, 8 columns: 26 ns a step, then 23).
constexpr int64_t kStreamAhead = 8192, kSomeAhead = 24576, kNearAhead = 1536, kTileAhead = 4096;

template <class Format>
constexpr int kMostStreamedColumns =
    Format::kStreamsColumns && kStreamColumns > 1 ? kStreamedColumns : 1;

// Blocks that share a line of cache: the first of them asks for it.
template <class Format>
constexpr int64_t kBlocksOfLine = Format::kBlockBytes < 64 ? 64 / Format::kBlockBytes : 1;
template <class Format>
bool begins_line(int64_t step) {
  return kBlocksOfLine<Format> == 1 || step % kBlocksOfLine<Format> == 0;
}

// Step kSub of a block, number `i` of its panel. Asks for as many bytes, `ahead` of it, as the step
// itself has: in a stream for the second level, and a little ahead for the first.
template <class Format, int kSub, bool kStreamed, class Step>
[[gnu::always_inline]] inline void unpack_step(const uint8_t* block, int64_t i, int64_t ahead,
                                               Step& step) {
  constexpr int kBytes = Format::kBlockBytes, kSteps = Format::kStepsPerBlock;
  for (int b = kBytes * kSub / kSteps; begins_line<Format>(i) && b < kBytes * (kSub + 1) / kSteps;
       b += 64) {
    __builtin_prefetch(block + ahead + b, 0, kStreamed ? 2 : 3);
    if constexpr (kStreamed) __builtin_prefetch(block + kNearAhead + b);
  }
  Format::template unpack<kSub>(block, step);
  step.finish();
}

// Formats whose steps come out with their bytes in another order than k's, Turn. The activations
// are turned likewise, or the weights back.
template <class Format>
inline constexpr bool kTurned = requires {
  typename Format::Turn;
};
// The activations of a block. Not inlined: broadcasts should come from memory, which costs nothing,
// not out of the registers that they are turned in.
template <class Format>
[[gnu::noinline]] void turn_block(const ActBlock* x, ActBlock* turned) {
  for (int i = 0; i < Format::kStepsPerBlock; ++i) Format::Turn::activations(x[i], turned[i]);
}

// Panels that are read side by side lie one after another: what one of them asks for past its own
// end is what the others have read. The distance to what will be read next, for steps [first, end).
struct Ahead {
  int64_t end, bytes;
};
template <class Format>
Ahead stream_ahead(const Matmul& op, int64_t first, int together, int64_t distance) {
  constexpr int64_t kBlock = Format::kBlockBytes, kSteps = Format::kStepsPerBlock;
  const int64_t panels = (first / kSteps * kBlock + distance) / op.panel_bytes;
  const int64_t n_steps = op.k / Format::kStep;
  const int64_t end = ((panels + 1) * op.panel_bytes - distance + kBlock - 1) / kBlock * kSteps;
  return {end < n_steps ? end : n_steps, distance + panels * (together - 1) * op.panel_bytes};
}

// Step kSub of the blocks of panels that lie side by side, unpacked a word at a time where it is
// multiplied: of a step that is made anew for every word, the compiler keeps what is read.
template <class Format, int kSub, int kPanels>
struct Packed {
  using Step = typename Format::Step;
  const uint8_t* block;
  int64_t i, panel_bytes, ahead;
  Step step(int p) const {
    Step step;
    Format::template unpack<kSub>(block + p * panel_bytes, step);
    step.finish();
    return step;
  }
  // Asks for this word's part of as many bytes, `ahead`, as the steps have. The compiler may not
  // move it to others: memory would idle between bursts.
  void fetch(int word) const {
    constexpr int kWords = Format::kStep > 1 ? 8 : 1;
    constexpr int kFirst = Format::kBlockBytes * kSub / Format::kStepsPerBlock;
    constexpr int kLast = Format::kBlockBytes * (kSub + 1) / Format::kStepsPerBlock;
    constexpr int kLines = (kLast - kFirst + 63) / 64, kAll = kLines * kPanels;
    if (!begins_line<Format>(i)) return;
    LM_UNROLL
    for (int n = 0; n < kAll; ++n) {
      if (n * kWords / kAll != word) continue;
      const uint8_t* line = block + n / kLines * panel_bytes + kFirst + n % kLines * 64;
      __builtin_prefetch(line + ahead, 0, 2);
      __builtin_prefetch(line + kNearAhead);
    }
    __asm__ volatile("");
  }
};

// acc[p][c] += blocks of kPanels panels, their steps from kSub on, times columns from step i on.
template <class Format, int kSub, int kPanels, int kColumns>
[[gnu::always_inline]] inline void add_block(
    const uint8_t* block, int64_t panel_bytes, int64_t ahead,
    const typename Format::Step::Column* const (&x)[kColumns], int64_t i,
    F (&acc)[kPanels][kColumns]) {
  if constexpr (kColumns == 1) {
    typename Format::Step steps[kPanels];
    LM_UNROLL
    for (int p = 0; p < kPanels; ++p) {
      unpack_step<Format, kSub, true>(block + p * panel_bytes, i, ahead, steps[p]);
    }
    add_step(Unpacked<typename Format::Step>{steps, 1}, x, i, acc);
  } else {
    add_step(Packed<Format, kSub, kPanels>{block, i, panel_bytes, ahead}, x, i, acc);
  }
  if constexpr (kSub + 1 < Format::kStepsPerBlock) {
    add_block<Format, kSub + 1>(block, panel_bytes, ahead, x, i + 1, acc);
  }
}

// Panels [panel, panel + kPanels) times up to kColumns columns, those that are missing being copies
// of the first: their sums are left.
template <class Format, int kPanels, int kColumns>
[[gnu::noinline, gnu::flatten]] void multiply_stream(const Matmul& op, int panel) {
  using Column = typename Format::Step::Column;
  constexpr int kSteps = Format::kStepsPerBlock;
  constexpr int64_t kDistance = kColumns == 1 ? kStreamAhead : kSomeAhead;
  const Column* x[kColumns];
  F acc[kPanels][kColumns];
  LM_UNROLL
  for (int c = 0; c < kColumns; ++c) {
    x[c] = static_cast<const Column*>(op.x[c < op.n_cols ? c : 0]);
    const float* out = op.acc + panel * kLanes + c * op.acc_stride;
    LM_UNROLL
    for (int p = 0; p < kPanels; ++p) {
      acc[p][c] = op.resume && c < op.n_cols ? f_load(out + p * kLanes) : f_set(0);
    }
  }
  const uint8_t* block = op.panels + panel * op.panel_bytes;
  const int64_t n_steps = op.k / Format::kStep;
  for (int64_t i = 0; i < n_steps;) {
    const Ahead ahead = stream_ahead<Format>(op, i, kPanels, kDistance);
    for (; i < ahead.end; i += kSteps, block += Format::kBlockBytes) {
      if constexpr (kTurned<Format>) {
        static_assert(kColumns == 1);
        ActBlock turned[kSteps];
        turn_block<Format>(x[0] + i, turned);
        const ActBlock* const columns[1] = {turned};
        add_block<Format, 0>(block, op.panel_bytes, ahead.bytes, columns, 0, acc);
      } else {
        add_block<Format, 0>(block, op.panel_bytes, ahead.bytes, x, i, acc);
      }
    }
  }
  LM_UNROLL
  for (int c = 0; c < kColumns; ++c) {
    float* out = op.acc + panel * kLanes + c * op.acc_stride;
    if (c >= op.n_cols) continue;
    LM_UNROLL
    for (int p = 0; p < kPanels; ++p) f_store(out + p * kLanes, acc[p][c]);
  }
}

// Panels [panel, panel + kPanels) times all columns: those after the first few find the weights in
// the second level of cache.
template <class Format, int kPanels>
void multiply_streams(const Matmul& op, int panel) {
  // A panel that is left alone has one kernel for any columns: each costs the compiler.
  constexpr int kMost = kStreamColumns, kSome = kPanels > 1 ? kMost / 2 : kMost;
  constexpr int kMore = kPanels > 1 ? kMost * 3 / 4 : kMost;
  Matmul part = op;
  for (; part.n_cols > 0; part.n_cols -= kMost, part.x += kMost) {
    if (part.n_cols == 1) {
      multiply_stream<Format, kPanels, 1>(part, panel);
    } else if constexpr (kMostStreamedColumns<Format> > 1) {
      if (part.n_cols <= kSome) {
        multiply_stream<Format, kPanels, kSome>(part, panel);
      } else if (part.n_cols <= kMore) {
        multiply_stream<Format, kPanels, kMore>(part, panel);
      } else {
        multiply_stream<Format, kPanels, kMost>(part, panel);
      }
    }
    part.acc += kMost * op.acc_stride;
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
  LM_UNROLL
  for (int c = 0; c < kColumns; ++c) {
    LM_UNROLL
    for (int p = 0; p < kPanels; ++p) acc[p][c] = f_load(out + p * kLanes + c * out_stride);
  }
  for (int64_t line = 0; line < n; line += kLine) {
    LM_UNROLL
    for (int c = 0; c < kColumns; ++c) {
      __builtin_prefetch(reinterpret_cast<const char*>(x[c] + line) + ahead);
    }
    const int64_t end = n - line < kLine ? n : line + kLine;
    for (int64_t i = line; i < end; ++i) add_step(Unpacked<Step>{steps + i, stride}, x, i, acc);
  }
  LM_UNROLL
  for (int c = 0; c < kColumns; ++c) {
    LM_UNROLL
    for (int p = 0; p < kPanels; ++p) f_store(out + p * kLanes + c * out_stride, acc[p][c]);
  }
}

inline int64_t bytes_between(const void* a, const void* b) {
  return int64_t(reinterpret_cast<uintptr_t>(b) - reinterpret_cast<uintptr_t>(a));
}

template <int>
struct Columns {};

// A stretch of K of kPanels panels, times all columns.
template <class Step, int kPanels>
void multiply_tiles(const Step* steps, int64_t stride, int64_t first, int64_t n, const Matmul& op,
                    int panel) {
  int column = 0;
  const auto run = [&]<int kColumns>(Columns<kColumns>) {
    for (; column + kColumns <= op.n_cols; column += kColumns) {
      float* out = op.acc + panel * kLanes + column * op.acc_stride;
      const void* const* x = op.x + column;
      const int64_t ahead = column + kColumns < op.n_cols ? bytes_between(x[0], x[kColumns]) : 0;
      multiply_tile<Step, kPanels, kColumns>(steps, stride, first, n, x, ahead, out, op.acc_stride);
    }
  };
  // Five to eight columns are best cut in the middle.
  constexpr int kWide = Step::kTileColumns;
  if (kWide == 4 || op.n_cols == kWide || op.n_cols > 8) run(Columns<kWide>());
  if constexpr (kWide > 4) run(Columns<4>());
  run(Columns<2>());
  run(Columns<1>());
}

// What a format is unpacked to for many columns; it may have a kind of step for them.
template <class Format>
struct ManyStepOf {
  using Type = typename Format::Step;
};
template <class Format>
requires requires {
  typename Format::ManyStep;
}
struct ManyStepOf<Format> {
  using Type = typename Format::ManyStep;
};
template <class Format>
using ManyStep = typename ManyStepOf<Format>::Type;

// steps[0..) = the steps of a block, from kSub on.
template <class Format, bool kStreamed, int kSub = 0>
[[gnu::always_inline]] inline void unpack_block(const uint8_t* block, int64_t i, int64_t ahead,
                                                ManyStep<Format>* steps) {
  unpack_step<Format, kSub, kStreamed>(block, i, ahead, steps[kSub]);
  if constexpr (kTurned<Format>) Format::Turn::weights(steps[kSub].w);
  if constexpr (kSub + 1 < Format::kStepsPerBlock) {
    unpack_block<Format, kStreamed, kSub + 1>(block, i + 1, ahead, steps);
  }
}

// steps[i] = step `first` + i of a panel.
template <class Format, bool kStreamed>
[[gnu::noinline, gnu::flatten]] void unpack_steps(const uint8_t* panel, int64_t first, int64_t n,
                                                  int64_t ahead, ManyStep<Format>* steps) {
  constexpr int kSteps = Format::kStepsPerBlock;
  const uint8_t* block = panel + first / kSteps * Format::kBlockBytes;
  for (int64_t i = 0; i < n; i += kSteps, block += Format::kBlockBytes) {
    unpack_block<Format, kStreamed>(block, first + i, ahead, steps + i);
  }
}

// Steps [first, first + n) of the kTilePanels panels from `panel` on, as far as there are so many.
template <class Format, bool kFew>
void multiply_stretch(const Matmul& op, int panel, int64_t first, int64_t n,
                      ManyStep<Format>* steps, int64_t stride) {
  using Step = ManyStep<Format>;
  constexpr int kPanels = Step::kTilePanels;
  const int n_panels = op.n_panels - panel < kPanels ? op.n_panels - panel : kPanels;
  const int64_t ahead =
      kFew ? stream_ahead<Format>(op, first, n_panels, kStreamAhead).bytes : kTileAhead;
  for (int p = 0; p < n_panels; ++p) {
    const uint8_t* at = op.panels + (panel + p) * op.panel_bytes;
    unpack_steps<Format, kFew>(at, first, n, ahead, steps + p * stride);
  }
  if (n_panels == kPanels) return multiply_tiles<Step, kPanels>(steps, stride, first, n, op, panel);
  for (int p = 0; p < n_panels; ++p) {
    multiply_tiles<Step, 1>(steps + p * stride, stride, first, n, op, panel + p);
  }
}

template <class Format>
void many_columns(const Matmul& op) {
  using Step = ManyStep<Format>;
  constexpr int kPanels = Step::kTilePanels;
  // Unpacked weights take half of the first level of cache; a multiple of 8 steps.
  constexpr int64_t kStretch = kUnpackedBytes / int64_t(sizeof(Step)) / kPanels / 8 * 8;
  static_assert(kStretch >= 8);
  Step steps[kPanels * kStretch];
  const int64_t n_steps = op.k / Format::kStep;
  for (int c = 0; !op.resume && c < op.n_cols; ++c) {
    for (int p = 0; p < op.n_panels; ++p) {
      f_store(op.acc + p * kLanes + c * op.acc_stride, f_set(0));
    }
  }
  // Few columns are still bound by memory: panel after panel, as it lies there, in stretches so
  // short that fetching and multiplying overlap. For many, the columns of a stretch stay in cache
  // for all panels.
  constexpr bool kFewCome = kMostStreamedColumns<Format> < kMaxColumns;
  const bool few = kFewCome && op.n_cols <= kMaxColumns;
  const int64_t stretch = few && Format::kStep > 1 ? 8 : kStretch;
  const auto n_at = [&](int64_t first) {
    return n_steps - first < stretch ? n_steps - first : stretch;
  };
  if constexpr (kFewCome) {
    for (int panel = 0; few && panel < op.n_panels; panel += kPanels) {
      for (int64_t first = 0; first < n_steps; first += stretch) {
        multiply_stretch<Format, true>(op, panel, first, n_at(first), steps, kStretch);
      }
    }
    if (few) return;
  }
  for (int64_t first = 0; first < n_steps; first += stretch) {
    for (int panel = 0; panel < op.n_panels; panel += kPanels) {
      multiply_stretch<Format, false>(op, panel, first, n_at(first), steps, kStretch);
    }
  }
}

template <class Format>
void matmul(const Matmul& op) {
  if (op.n_cols > kMostStreamedColumns<Format>) return many_columns<Format>(op);
  // Two panels at once where registers allow: twice as many chains of sums and streams from memory.
  constexpr int kTogether = Format::Step::kTilePanels > 1 ? 2 : 1;
  int panel = 0;
  for (; panel + kTogether <= op.n_panels; panel += kTogether) {
    multiply_streams<Format, kTogether>(op, panel);
  }
  if (panel < op.n_panels) multiply_streams<Format, 1>(op, panel);
}

}  // namespace
}  // namespace lm::cpu
