// backends/cpu/isa/matmul.inl — a few panels of a weight times a few columns of activations.
// Lanes are output rows: no sum ever crosses lanes, and each lane adds its K-blocks in order.
// gemv and gemm are the same template with another number of columns, so that a row's result
// cannot depend on its company. What a weight's format is: formats.inl, formats_k.inl.

namespace lm::cpu {
namespace {

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

// Steps kSub, kSub + 1, ... of a block, as blocks of FormatUnpacked.
template <class Format, int kSub = 0>
void unpack_block(const uint8_t* block, uint8_t* out) {
  typename Format::Step step;
  Format::template unpack<kSub>(block, step);
  FormatUnpacked::store(step, out + kSub * FormatUnpacked::kBlockBytes);
  if constexpr (kSub + 1 < Format::kStepsPerBlock) unpack_block<Format, kSub + 1>(block, out);
}

// Formats that cost more to unpack than to multiply: every block is unpacked once, in the first
// level of cache, for all columns.
template <class Format>
void matmul_unpacked(const Matmul& op) {
  constexpr int kSteps = Format::kStepsPerBlock, kBlock = kSteps * Format::kStep;
  alignas(64) uint8_t unpacked[kSteps * FormatUnpacked::kBlockBytes];
  const void* x[kMostColumns];
  if (op.k == 0) return matmul<FormatUnpacked>(op);
  for (int panel = 0; panel < op.n_panels; ++panel) {
    const uint8_t* block = op.panels + panel * op.panel_bytes;
    Matmul part = op;
    part.panels = unpacked;
    part.n_panels = 1;
    part.k = kBlock;
    part.x = x;
    part.acc = op.acc + panel * kLanes;
    for (int64_t b = 0; b < op.k / kBlock; ++b, block += Format::kBlockBytes) {
      for (int i = 0; i < Format::kBlockBytes; i += 64) {
        __builtin_prefetch(block + kPrefetchBytes + i);
      }
      unpack_block<Format>(block, unpacked);
      for (int c = 0; c < op.n_cols; ++c) {
        x[c] = static_cast<const ActBlock*>(op.x[c]) + b * kSteps;
      }
      matmul<FormatUnpacked>(part);
      part.resume = true;
    }
  }
}

}  // namespace
}  // namespace lm::cpu
