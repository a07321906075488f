// Weights from a file's rows to planes: one warp a tile of 16 rows and chunk of 128 columns. Every
// type says what the code of a number is, and writes its own scales; where codes go is common.
// Cost: reads and writes each byte once; a byte of a code costs about ten instructions.
#include "backends/cuda/launch.h"
#include "backends/cuda/planes.h"
#include "backends/cuda/ptx.cuh"
#include "backends/cuda/repack.h"
#include "engine/core/check.h"
#include "quant/blocks.h"
#include "quant/decode_k.h"

namespace lm::cuda {
namespace {

// Bits of a code in its first plane and in its second; where each starts in a record is common.
struct CodeBits {
  int first, second;
  bool by_part = false;  // nibbles of a part lie together (to be looked up)
};

// Number e of 32 (or of each 32) in halves order.
__device__ int halves_nibble(const uint8_t* qs, int e) {
  return qs[e / 32 * 16 + e % 16] >> (e % 32 / 16 * 4) & 15;
}
__device__ void store_u16(uint8_t* to, uint16_t value) {
  *reinterpret_cast<uint16_t*>(to) = value;
}

// ---- the types: code(block, e), and scales(row, entry, plane) of a record ----
// `row` gives a block of the record by its number, null past the row's or the matrix's end.

template <class Block>
struct RowBlocks {
  const uint8_t* first;  // of the record; null: no such row
  int n;                 // that exist
  __device__ const Block* at(int i) const {
    return first != nullptr && i < n ? reinterpret_cast<const Block*>(first) + i : nullptr;
  }
};

template <class Block>
__device__ void half_scales(const RowBlocks<Block>& row, int entry, uint8_t* plane) {
  for (int j = 0; j < 4; ++j) {
    const Block* b = row.at(j);
    store_u16(plane + entry * 8 + j * 2, b != nullptr ? b->d : uint16_t(0));
  }
}

template <class Block_, int kOffset, bool kByPart>
struct HalvesType {  // q4_0, iq4_NL
  using Block = Block_;
  static constexpr CodeBits kBits{4, 0, kByPart};
  __device__ static int code(const Block& b, int e) { return halves_nibble(b.qs, e) ^ kOffset; }
  __device__ static void scales(const RowBlocks<Block>& row, int entry, uint8_t* plane) {
    half_scales(row, entry, plane);
  }
};

struct TypeQ8_0 {
  using Block = BlockQ8_0;
  static constexpr CodeBits kBits{8, 0};
  __device__ static int code(const Block& b, int e) { return uint8_t(b.qs[e]); }
  __device__ static void scales(const RowBlocks<Block>& row, int entry, uint8_t* plane) {
    half_scales(row, entry, plane);
  }
};

struct TypeMxfp4 {
  using Block = BlockMXFP4;
  static constexpr CodeBits kBits{4, 0, true};
  __device__ static int code(const Block& b, int e) { return halves_nibble(b.qs, e); }
  __device__ static void scales(const RowBlocks<Block>& row, int entry, uint8_t* plane) {
    for (int j = 0; j < 4; ++j) {
      const Block* b = row.at(j);
      plane[entry * 4 + j] = b != nullptr ? b->e : uint8_t(0);
    }
  }
};

template <class Block>
__device__ void pair_scales(const RowBlocks<Block>& row, int entry, uint8_t* plane) {
  for (int j = 0; j < 4; ++j) {
    const Block* b = row.at(j);
    store_u16(plane + entry * 16 + j * 4, b != nullptr ? b->d : uint16_t(0));
    store_u16(plane + entry * 16 + j * 4 + 2, b != nullptr ? b->m : uint16_t(0));
  }
}

struct TypeQ4_1 {
  using Block = BlockQ4_1;
  static constexpr CodeBits kBits{4, 0};
  __device__ static int code(const Block& b, int e) { return halves_nibble(b.qs, e); }
  __device__ static void scales(const RowBlocks<Block>& row, int entry, uint8_t* plane) {
    pair_scales(row, entry, plane);
  }
};

template <class Block>
__device__ int five_bits(const Block& b, int e) {
  return halves_nibble(b.qs, e) | (b.qh[e / 8] >> (e % 8) & 1) << 4;
}
struct TypeQ5_0 {
  using Block = BlockQ5_0;
  static constexpr CodeBits kBits{4, 1};
  __device__ static int code(const Block& b, int e) { return five_bits(b, e) ^ 16; }
  __device__ static void scales(const RowBlocks<Block>& row, int entry, uint8_t* plane) {
    half_scales(row, entry, plane);
  }
};
struct TypeQ5_1 {
  using Block = BlockQ5_1;
  static constexpr CodeBits kBits{4, 1};
  __device__ static int code(const Block& b, int e) { return five_bits(b, e); }
  __device__ static void scales(const RowBlocks<Block>& row, int entry, uint8_t* plane) {
    pair_scales(row, entry, plane);
  }
};

template <int kSize>
struct TypeI4g {
  using Block = BlockI4G<kSize>;
  static constexpr CodeBits kBits{4, 0};
  __device__ static int code(const Block& b, int e) { return halves_nibble(b.q, e); }
  __device__ static void scales(const RowBlocks<Block>& row, int entry, uint8_t* plane) {
    constexpr int n = kChunkColumns / kSize;
    for (int i = 0; i < n; ++i) {
      const Block* b = row.at(i);
      store_u16(plane + (entry * n + i) * 2, b != nullptr ? b->d : uint16_t(0));
      plane[32 * n + entry * n + i] = b != nullptr ? b->z : uint8_t(0);
    }
  }
};

// The block's first 16 bytes.
template <class Block>
__device__ void header_scales(const RowBlocks<Block>& row, int entry, uint8_t* plane) {
  const uint8_t* header = reinterpret_cast<const uint8_t*>(row.at(0));
  for (int i = 0; i < 16; ++i) plane[entry * 16 + i] = header != nullptr ? header[i] : uint8_t(0);
}
template <class Block>
__device__ int low_nibble(const Block& b, int e) {
  return b.qs[e / 64 * 32 + e % 32] >> (e % 64 / 32 * 4) & 15;
}

struct TypeQ4_K {
  using Block = BlockQ4_K;
  static constexpr CodeBits kBits{4, 0};
  __device__ static int code(const Block& b, int e) { return low_nibble(b, e); }
  __device__ static void scales(const RowBlocks<Block>& row, int entry, uint8_t* plane) {
    header_scales(row, entry, plane);
  }
};
struct TypeQ5_K {
  using Block = BlockQ5_K;
  static constexpr CodeBits kBits{4, 1};
  __device__ static int code(const Block& b, int e) {
    return low_nibble(b, e) | (b.qh[e % 32] >> (e / 32) & 1) << 4;
  }
  __device__ static void scales(const RowBlocks<Block>& row, int entry, uint8_t* plane) {
    header_scales(row, entry, plane);
  }
};

// Signed byte scales, kScales of them a row and chunk, then d.
template <class Type, int kScales>
__device__ void byte_scales(const RowBlocks<typename Type::Block>& row, int entry, uint8_t* plane) {
  const auto* b = row.at(0);
  for (int i = 0; i < 2 * kScales; ++i) {
    uint8_t* to = plane + i / kScales * (16 * kScales) + entry * kScales + i % kScales;
    *to = b != nullptr ? uint8_t(Type::scale(*b, i)) : uint8_t(0);
  }
  store_u16(plane + 32 * kScales + entry * 2, b != nullptr ? b->d : uint16_t(0));
}

struct TypeQ6_K {
  using Block = BlockQ6_K;
  static constexpr CodeBits kBits{4, 2};
  __device__ static int code(const Block& b, int e) {
    const int h = e / 128, s = e % 128 / 32, j = e % 32;
    const int low = b.ql[64 * h + 32 * (s % 2) + j] >> (s / 2 * 4) & 15;
    return (low | (b.qh[32 * h + j] >> (2 * s) & 3) << 4) ^ 32;
  }
  __device__ static int scale(const Block& b, int i) { return b.scales[i]; }
  __device__ static void scales(const RowBlocks<Block>& row, int entry, uint8_t* plane) {
    byte_scales<TypeQ6_K, 8>(row, entry, plane);
  }
};

struct TypeQ3_K {
  using Block = BlockQ3_K;
  static constexpr CodeBits kBits{2, 1};
  __device__ static int code(const Block& b, int e) {
    const int low = b.qs[e / 128 * 32 + e % 32] >> (e % 128 / 32 * 2) & 3;
    return (low | (b.hmask[e % 32] >> (e / 32) & 1) << 2) ^ 4;
  }
  __device__ static int scale(const Block& b, int i) { return q3_scale(b.scales, i) - 32; }
  __device__ static void scales(const RowBlocks<Block>& row, int entry, uint8_t* plane) {
    byte_scales<TypeQ3_K, 8>(row, entry, plane);
  }
};

struct TypeIq4_XS {
  using Block = BlockIQ4_XS;
  static constexpr CodeBits kBits{4, 0, true};
  __device__ static int code(const Block& b, int e) { return halves_nibble(b.qs, e); }
  __device__ static int scale(const Block& b, int i) {
    const int low = b.scales_l[i / 2] >> (i % 2 * 4) & 15;
    return (low | (b.scales_h >> (2 * i) & 3) << 4) - 32;
  }
  __device__ static void scales(const RowBlocks<Block>& row, int entry, uint8_t* plane) {
    byte_scales<TypeIq4_XS, 4>(row, entry, plane);
  }
};

struct TypeQ2_K {
  using Block = BlockQ2_K;
  static constexpr CodeBits kBits{2, 0};
  __device__ static int code(const Block& b, int e) {
    return b.qs[e / 128 * 32 + e % 32] >> (e % 128 / 32 * 2) & 3;
  }
  __device__ static void scales(const RowBlocks<Block>& row, int entry, uint8_t* plane) {
    const Block* b = row.at(0);
    for (int i = 0; i < 16; ++i) {
      plane[entry * 16 + i] = b != nullptr ? b->scales[i] : uint8_t(0);
    }
    store_u16(plane + 256 + entry * 4, b != nullptr ? b->d : uint16_t(0));
    store_u16(plane + 256 + entry * 4 + 2, b != nullptr ? b->dmin : uint16_t(0));
  }
};

// ---- where codes go ----

// The codes of one row (half h of the lane) in a chunk: code(j, p, i) is element i of part p of
// group j. `second` of `n` chunks in the record.
template <CodeBits kBits, class Code>
__device__ void store_codes(uint8_t* record, int n, int second, int lane, int h, const Code& code) {
  constexpr int kFirstBytes = kBits.first * 256;
  uint8_t* first = record + second * kFirstBytes;
  uint8_t* next = record + n * kFirstBytes + second * kBits.second * 256;
  uint32_t single = 0, pair = 0;
#pragma unroll 1
  for (int j = 0; j < 4; ++j) {
    uint32_t nibbles = 0, parts[2] = {0, 0};
    for (int p = 0; p < 2; ++p) {
      for (int i = 0; i < 4; ++i) {
        const uint32_t c = uint32_t(code(j, p, i));
        const uint32_t upper = c >> kBits.first;
        nibbles |= (c & 15) << (kBits.by_part ? 16 * p + 4 * i : 8 * i + 4 * p);
        parts[p] |= c << (8 * i);
        single |= (upper & 1) << (8 * i + 2 * j + p);
        pair |= ((kBits.first == 2 ? c : upper) & 3) << (8 * i + 2 * (2 * (j % 2) + p));
      }
    }
    if constexpr (kBits.first == 4) {
      *reinterpret_cast<uint32_t*>(first + (h * 32 + lane) * 16 + j * 4) = nibbles;
    }
    if constexpr (kBits.first == 8) {
      for (int p = 0; p < 2; ++p) {
        *reinterpret_cast<uint32_t*>(first + (j * 32 + lane) * 16 + (2 * p + h) * 4) = parts[p];
      }
    }
    if constexpr (kBits.first == 2 || kBits.second == 2) {
      if (j % 2 == 1) {
        uint8_t* plane = kBits.first == 2 ? first : next;
        *reinterpret_cast<uint32_t*>(plane + lane * 16 + h * 8 + j / 2 * 4) = pair;
        pair = 0;
      }
    }
  }
  if constexpr (kBits.second == 1) *reinterpret_cast<uint32_t*>(next + lane * 8 + h * 4) = single;
}

// Grid: chunks of the padded row, tiles. Block: one warp.
template <class Type, DType kType>
__global__ void __launch_bounds__(32) repack_kernel(Repack op) {
  using Block = typename Type::Block;
  constexpr PlaneRecord kRecord = plane_record(kType);
  constexpr int kChunks = kRecord.columns / kChunkColumns;
  wait_for_previous_kernel();  // and lets none begin early: those read planes before they wait
  const int lane = int(threadIdx.x), chunk = int(blockIdx.x);
  const int64_t tile = blockIdx.y, record = chunk / kChunks;
  uint8_t* to = reinterpret_cast<uint8_t*>(op.planes) +
                (tile * (gridDim.x / kChunks) + record) * kRecord.bytes;
  const int64_t row_blocks = op.k / Block::kElems;
  const auto blocks_of = [&](int row_in_tile) -> RowBlocks<Block> {
    constexpr int kBlocks = kRecord.columns / Block::kElems;
    const int64_t row = tile * kTileRows + row_in_tile, first = record * kBlocks;
    if (row >= op.n_rows) return {nullptr, 0};
    return {reinterpret_cast<const uint8_t*>(op.rows) +
                (row * row_blocks + first) * int64_t(sizeof(Block)),
            int(row_blocks - first < kBlocks ? row_blocks - first : kBlocks)};
  };
#pragma unroll 1
  for (int h = 0; h < 2; ++h) {
    const RowBlocks<Block> row = blocks_of(lane / 4 + 8 * h);
    store_codes<Type::kBits>(to, kChunks, chunk % kChunks, lane, h, [&](int j, int p, int i) {
      const int column = chunk % kChunks * kChunkColumns + 32 * j + 16 * p + lane % 4 * 4 + i;
      const Block* block = row.at(column / Block::kElems);
      return block != nullptr ? Type::code(*block, column % Block::kElems) : 0;
    });
  }
  if (chunk % kChunks == 0 && lane < kTileRows) {
    Type::scales(blocks_of(lane / 2 + 8 * (lane % 2)), lane, to + kRecord.scales);
  }
}

template <class Type, DType kType>
void launch_repack(const Context& context, const Repack& op) {
  constexpr PlaneRecord kRecord = plane_record(kType);
  const int64_t records = (op.k + kRecord.columns - 1) / kRecord.columns;
  const dim3 blocks(unsigned(records * kRecord.columns / kChunkColumns), unsigned(op.n_tiles));
  launch(context, repack_kernel<Type, kType>, {blocks, dim3(32)}, op);
}

}  // namespace

void repack(const Context& context, DType type, const Repack& op) {
  using Launch = void (*)(const Context&, const Repack&);
  const Launch run = [type]() -> Launch {
    switch (type) {
      case DType::q4_0:
        return launch_repack<HalvesType<BlockQ4_0, 8, false>, DType::q4_0>;
      case DType::q4_1:
        return launch_repack<TypeQ4_1, DType::q4_1>;
      case DType::q5_0:
        return launch_repack<TypeQ5_0, DType::q5_0>;
      case DType::q5_1:
        return launch_repack<TypeQ5_1, DType::q5_1>;
      case DType::q8_0:
        return launch_repack<TypeQ8_0, DType::q8_0>;
      case DType::iq4_NL:
        return launch_repack<HalvesType<BlockIQ4_NL, 0, true>, DType::iq4_NL>;
      case DType::mxfp4:
        return launch_repack<TypeMxfp4, DType::mxfp4>;
      case DType::i4g32:
        return launch_repack<TypeI4g<32>, DType::i4g32>;
      case DType::i4g64:
        return launch_repack<TypeI4g<64>, DType::i4g64>;
      case DType::i4g128:
        return launch_repack<TypeI4g<128>, DType::i4g128>;
      case DType::q4_K:
        return launch_repack<TypeQ4_K, DType::q4_K>;
      case DType::q5_K:
        return launch_repack<TypeQ5_K, DType::q5_K>;
      case DType::q6_K:
        return launch_repack<TypeQ6_K, DType::q6_K>;
      case DType::q3_K:
        return launch_repack<TypeQ3_K, DType::q3_K>;
      case DType::q2_K:
        return launch_repack<TypeQ2_K, DType::q2_K>;
      case DType::iq4_XS:
        return launch_repack<TypeIq4_XS, DType::iq4_XS>;
      default:
        return nullptr;
    }
  }();
  LM_CHECK(run != nullptr && op.n_tiles <= kMostRepackTiles);
  run(context, op);
}

}  // namespace lm::cuda
