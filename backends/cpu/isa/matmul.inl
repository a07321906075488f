// backends/cpu/isa/matmul.inl — a few panels of a weight times a few columns of activations.
// Lanes are output rows: no sum ever crosses lanes, and each lane adds its K-blocks in order.
// gemv and gemm are the same template with another number of columns, so that a row's result
// cannot depend on its company. Block layouts: quant/blocks.h, interleaved as kernels.h says.

namespace lm::cpu {
namespace {

// --- Formats: how a step of K is unpacked, and how it is applied to one column. -----------------

// Weights as numbers: a step is one k.
template <int kBytes, F (*kLoad)(const void*)>
struct FloatFormat {
  using Column = float;
  static constexpr int kStep = 1, kStepsPerBlock = 1;
  static constexpr int kBlockBytes = kBytes * kLanes;
  struct Step {
    F w;
  };
  template <int>
  static void unpack(const uint8_t* block, Step& s) {
    s.w = kLoad(block);
  }
  static F apply(const Step& s, const float& x, F acc) { return f_fma(s.w, f_set(x), acc); }
};
F load_f32(const void* p) {
  return f_load(static_cast<const float*>(p));
}
using FormatF32 = FloatFormat<4, load_f32>;
using FormatF16 = FloatFormat<2, f_load_f16>;
using FormatBf16 = FloatFormat<2, f_load_bf16>;

// Weights as small integers with a scale: a step is 32 of K, one ActBlock.
struct IntFormat {
  using Column = ActBlock;
  static constexpr int kStep = 32;
};
constexpr int kWord = 4 * kLanes;  // bytes of one vector: 4 weights (or 8 nibbles) of every row

// w = d · q
struct FormatQ8_0 : IntFormat {
  static constexpr int kStepsPerBlock = 1, kBlockBytes = 34 * kLanes;
  struct Step {
    I w[8];
    F d;
  };
  template <int>
  static void unpack(const uint8_t* block, Step& s) {
    s.d = f_load_f16(block);
    for (int j = 0; j < 8; ++j) s.w[j] = i_load(block + 2 * kLanes + j * kWord);
  }
  static F apply(const Step& s, const ActBlock& x, F acc) {
    return f_fma(f_from_i(dot_s8(s.w, x)), f_mul(s.d, f_set(x.d)), acc);
  }
};

// w = d · (q - 8); byte i holds element i (low nibble) and i + 16.
struct FormatQ4_0 : IntFormat {
  static constexpr int kStepsPerBlock = 1, kBlockBytes = 18 * kLanes;
  struct Step {
    I w[8];
    F d;
  };
  template <int>
  static void unpack(const uint8_t* block, Step& s) {
    s.d = f_load_f16(block);
    const I nibble = i_set(0x0F0F0F0F);
    for (int j = 0; j < 4; ++j) {
      const I bytes = i_load(block + 2 * kLanes + j * kWord);
      s.w[j] = i_and(bytes, nibble);
      s.w[j + 4] = i_and(i_shr<4>(bytes), nibble);
    }
  }
  static F apply(const Step& s, const ActBlock& x, F acc) {
    const I dot = dot_u4(i_set(x.minus_sum_8), s.w, x.q);
    return f_fma(f_from_i(dot), f_mul(s.d, f_set(x.d)), acc);
  }
};

// w = d · scale · q - dmin · min; 8 sub-blocks of 32, two in each 32 bytes of nibbles.
struct FormatQ4_K : IntFormat {
  static constexpr int kStepsPerBlock = 8, kBlockBytes = 144 * kLanes;
  struct Step {
    I w[8];
    F scale, minus_min;
  };
  // The 6-bit scales and mins of 8 sub-blocks lie in 12 bytes: 0..3 in the low 6 bits of words 0
  // and 1; 4..7 have 4 bits in word 2 and their upper 2 bits on top of words 0 and 1.
  template <int kSub>
  static void unpack_scales(const uint8_t* words, I& scale, I& min) {
    const I u0 = i_load(words), u1 = i_load(words + kWord), u2 = i_load(words + 2 * kWord);
    constexpr int kShift = 8 * (kSub % 4);
    if constexpr (kSub < 4) {
      scale = i_and(i_shr<kShift>(u0), i_set(63));
      min = i_and(i_shr<kShift>(u1), i_set(63));
    } else {
      const I low = i_set(15), high = i_set(0x30);
      scale = i_or(i_and(i_shr<kShift>(u2), low), i_and(i_shr<kShift + 2>(u0), high));
      min = i_or(i_and(i_shr<kShift + 4>(u2), low), i_and(i_shr<kShift + 2>(u1), high));
    }
  }
  template <int kSub>
  static void unpack(const uint8_t* block, Step& s) {
    I scale, min;
    unpack_scales<kSub>(block + 4 * kLanes, scale, min);
    s.scale = f_mul(f_load_f16(block), f_from_i(scale));
    s.minus_min = f_sub(f_set(0), f_mul(f_load_f16(block + 2 * kLanes), f_from_i(min)));
    const uint8_t* words = block + 4 * kLanes + (3 + kSub / 2 * 8) * kWord;
    const I nibble = i_set(0x0F0F0F0F);
    for (int j = 0; j < 8; ++j)
      s.w[j] = i_and(i_shr<kSub % 2 * 4>(i_load(words + j * kWord)), nibble);
  }
  static F apply(const Step& s, const ActBlock& x, F acc) {
    const F sum = f_fma(f_from_i(dot_u4(i_set(0), s.w, x.q)), f_mul(s.scale, f_set(x.d)), acc);
    return f_fma(s.minus_min, f_set(x.d_sum), sum);
  }
};

// w = d · scale · (q - 32); 16 sub-blocks of 16; 4 bits of q in ql, 2 in qh. A step is two of them.
struct FormatQ6_K : IntFormat {
  static constexpr int kStepsPerBlock = 8, kBlockBytes = 210 * kLanes;
  struct Step {
    I w[8];
    F d, scale_lo, scale_hi;
  };
  template <int kSub>
  static void unpack(const uint8_t* block, Step& s) {
    constexpr int kHalf = kSub / 4, kQuarter = kSub % 4;
    const uint8_t* low = block + (kHalf * 16 + kQuarter % 2 * 8) * kWord;
    const uint8_t* high = block + (32 + kHalf * 8) * kWord;
    for (int j = 0; j < 8; ++j) {
      const I l = i_and(i_shr<kQuarter / 2 * 4>(i_load(low + j * kWord)), i_set(0x0F0F0F0F));
      const I h = i_and(i_shr<2 * kQuarter>(i_load(high + j * kWord)), i_set(0x03030303));
      s.w[j] = i_or(l, i_shl<4>(h));
    }
    const I scales = i_load(block + (48 + kSub / 2) * kWord);  // 4 signed bytes, ours are 2
    s.scale_lo = f_from_i(i_sar<24>(i_shl<24 - kSub % 2 * 16>(scales)));
    s.scale_hi = f_from_i(i_sar<24>(i_shl<16 - kSub % 2 * 16>(scales)));
    s.d = f_load_f16(block + 52 * kWord);
  }
  static F apply(const Step& s, const ActBlock& x, F acc) {
    const I lo = dot_u6(i_set(x.minus_lo_32), s.w, x.q);
    const I hi = dot_u6(i_set(x.minus_hi_32), s.w + 4, x.q + 16);
    // Exact: |scale · dot| <= 128 · 32 · 127 · 16, and two of them stay below 2^24.
    const F dot = f_fma(f_from_i(lo), s.scale_lo, f_mul(f_from_i(hi), s.scale_hi));
    return f_fma(dot, f_mul(s.d, f_set(x.d)), acc);
  }
};

// --- The loop. -----------------------------------------------------------------------------------

constexpr int64_t kPrefetchBytes = 2048;

template <class Format, int kPanels, int kColumns>
struct Tile {
  const typename Format::Column* x[kColumns];
  F acc[kPanels][kColumns];

  // Steps kSub, kSub + 1, ... of one block of every panel.
  template <int kSub = 0>
  void add_block(const uint8_t* block, int64_t panel_bytes, int64_t first_step) {
    for (int p = 0; p < kPanels; ++p) {
      typename Format::Step step;
      Format::template unpack<kSub>(block + p * panel_bytes, step);
      for (int c = 0; c < kColumns; ++c) {
        acc[p][c] = Format::apply(step, x[c][first_step + kSub], acc[p][c]);
      }
    }
    if constexpr (kSub + 1 < Format::kStepsPerBlock) {
      add_block<kSub + 1>(block, panel_bytes, first_step);
    }
  }
};

template <class Format, int kPanels, int kColumns>
void matmul_tile(const Matmul& op, int panel, int column) {
  Tile<Format, kPanels, kColumns> tile;
  float* out = op.acc + panel * kLanes + column * op.acc_stride;
  for (int c = 0; c < kColumns; ++c) {
    tile.x[c] = static_cast<const typename Format::Column*>(op.x[column + c]);
    for (int p = 0; p < kPanels; ++p) {
      tile.acc[p][c] = op.resume ? f_load(out + p * kLanes + c * op.acc_stride) : f_set(0);
    }
  }
  const uint8_t* block = op.panels + panel * op.panel_bytes;
  const int64_t n_blocks = op.k / (Format::kStep * Format::kStepsPerBlock);
  for (int64_t b = 0; b < n_blocks; ++b, block += Format::kBlockBytes) {
    for (int p = 0; p < kPanels; ++p) {
      for (int i = 0; i < Format::kBlockBytes; i += 64) {
        __builtin_prefetch(block + p * op.panel_bytes + kPrefetchBytes + i);
      }
    }
    tile.add_block(block, op.panel_bytes, b * Format::kStepsPerBlock);
  }
  for (int p = 0; p < kPanels; ++p) {
    for (int c = 0; c < kColumns; ++c) {
      f_store(out + p * kLanes + c * op.acc_stride, tile.acc[p][c]);
    }
  }
}

// All panels of the op times kColumns columns. Several panels at once keep the adders busy where
// few columns would make each wait for its predecessor.
template <class Format, int kColumns>
void matmul_columns(const Matmul& op, int column) {
  constexpr int kPanels = kColumns > 4 ? 1 : kColumns == 4 ? 2 : 4 / kColumns;
  int panel = 0;
  for (; panel + kPanels <= op.n_panels; panel += kPanels) {
    matmul_tile<Format, kPanels, kColumns>(op, panel, column);
  }
  for (; panel < op.n_panels; ++panel) matmul_tile<Format, 1, kColumns>(op, panel, column);
}

template <class Format>
void matmul(const Matmul& op) {
  int column = 0;
  for (; column + kMaxColumns <= op.n_cols; column += kMaxColumns) {
    matmul_columns<Format, kMaxColumns>(op, column);
  }
  if constexpr (kMaxColumns > 4) {
    for (; column + 4 <= op.n_cols; column += 4) matmul_columns<Format, 4>(op, column);
  }
  for (; column + 2 <= op.n_cols; column += 2) matmul_columns<Format, 2>(op, column);
  for (; column < op.n_cols; ++column) matmul_columns<Format, 1>(op, column);
}

}  // namespace
}  // namespace lm::cpu
