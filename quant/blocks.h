// quant/blocks.h — GGUF's blocks, byte for byte as they lie in a file (little-endian).
// Plain data and nothing else: this header is also included by files compiled for one instruction
// set, so no function may live here. Packed: a block may start at any address.
// Source of the layouts: ggml-common.h of ggml (MIT). Halves are IEEE binary16 bits (quant/half.h).
//
// In a block of n numbers, "halves" order means: byte j of qs holds number j in its low 4 bits and
// number j + n/2 in its high 4 bits.
#pragma once
#include <cstdint>

namespace lm {

#pragma pack(push, 1)

// ---- blocks of 32: one scale, sometimes one minimum ----

struct BlockQ4_0 {  // x = d * (q - 8)
  static constexpr int kElems = 32;
  uint16_t d;
  uint8_t qs[16];  // halves order
};
static_assert(sizeof(BlockQ4_0) == 18);

struct BlockQ4_1 {  // x = d * q + m
  static constexpr int kElems = 32;
  uint16_t d;
  uint16_t m;
  uint8_t qs[16];  // halves order
};
static_assert(sizeof(BlockQ4_1) == 20);

struct BlockQ5_0 {  // x = d * (q - 16)
  static constexpr int kElems = 32;
  uint16_t d;
  uint8_t qh[4];   // bit j % 8 of byte j / 8: bit 4 of number j
  uint8_t qs[16];  // bits 0..3, halves order
};
static_assert(sizeof(BlockQ5_0) == 22);

struct BlockQ5_1 {  // x = d * q + m
  static constexpr int kElems = 32;
  uint16_t d;
  uint16_t m;
  uint8_t qh[4];   // as in BlockQ5_0
  uint8_t qs[16];  // bits 0..3, halves order
};
static_assert(sizeof(BlockQ5_1) == 24);

struct BlockQ8_0 {  // x = d * q
  static constexpr int kElems = 32;
  uint16_t d;
  int8_t qs[32];
};
static_assert(sizeof(BlockQ8_0) == 34);

struct BlockQ8_1 {  // x = d * q; the sum saves work where the other side has a minimum
  static constexpr int kElems = 32;
  uint16_t d;
  uint16_t s;  // half of d * (sum of qs)
  int8_t qs[32];
};
static_assert(sizeof(BlockQ8_1) == 36);

struct BlockMXFP4 {  // x = 2^(e - 127) * E2M1(q): OCP Microscaling Formats v1.0
  static constexpr int kElems = 32;
  uint8_t e;       // E8M0 exponent
  uint8_t qs[16];  // halves order
};
static_assert(sizeof(BlockMXFP4) == 17);

struct BlockIQ4_NL {  // x = d * kIq4Values[q]
  static constexpr int kElems = 32;
  uint16_t d;
  uint8_t qs[16];  // halves order
};
static_assert(sizeof(BlockIQ4_NL) == 18);

// ---- this project's own: the asymmetric groups of GPTQ and AWQ checkpoints, held exactly ----

template <int kGroup>
struct BlockI4G {  // x = d * (q - z)
  static constexpr int kElems = kGroup;
  uint16_t d;
  uint8_t z;              // 0..16; products take only the lowest 5 bits of it
  uint8_t q[kGroup / 2];  // 16 bytes for each 32 numbers, halves order
};
static_assert(sizeof(BlockI4G<32>) == 19 && sizeof(BlockI4G<64>) == 35);
static_assert(sizeof(BlockI4G<128>) == 67);

// ---- K-quants: super-blocks of 256 whose sub-blocks have quantized scales ----

struct BlockQ2_K {  // x = d * scale * q - dmin * min; 16 sub-blocks of 16
  static constexpr int kElems = 256;
  uint8_t scales[16];  // scale in the low 4 bits, min in the high 4
  uint8_t qs[64];      // number 128*h + 32*s + j: bits 2s, 2s+1 of byte 32*h + j
  uint16_t d;
  uint16_t dmin;
};
static_assert(sizeof(BlockQ2_K) == 84);

struct BlockQ3_K {  // x = d * (scale - 32) * (q - 4); 16 sub-blocks of 16
  static constexpr int kElems = 256;
  uint8_t hmask[32];   // number 32*k + j: bit 2 of q is bit k of byte j
  uint8_t qs[64];      // bits 0, 1 of q, as in BlockQ2_K
  uint8_t scales[12];  // 16 of 6 bits: low nibbles of bytes 0..7, high nibbles, then 2-bit tops
  uint16_t d;
};
static_assert(sizeof(BlockQ3_K) == 110);

struct BlockQ4_K {  // x = d * scale * q - dmin * min; 8 sub-blocks of 32
  static constexpr int kElems = 256;
  uint16_t d;
  uint16_t dmin;
  uint8_t scales[12];  // 8 scales and 8 minima of 6 bits (decode_k.cpp: scale_min)
  uint8_t qs[128];     // numbers 64*k + j (low 4 bits) and 64*k + 32 + j (high) in byte 32*k + j
};
static_assert(sizeof(BlockQ4_K) == 144);

struct BlockQ5_K {  // x = d * scale * q - dmin * min; 8 sub-blocks of 32
  static constexpr int kElems = 256;
  uint16_t d;
  uint16_t dmin;
  uint8_t scales[12];  // as in BlockQ4_K
  uint8_t qh[32];      // number 32*k + j: bit 4 of q is bit k of byte j
  uint8_t qs[128];     // bits 0..3, as in BlockQ4_K
};
static_assert(sizeof(BlockQ5_K) == 176);

struct BlockQ6_K {  // x = d * scale * (q - 32); 16 sub-blocks of 16
  static constexpr int kElems = 256;
  uint8_t ql[128];  // bits 0..3 of number 128*h + 32*s + j: byte 64*h + 32*(s % 2) + j, half s / 2
  uint8_t qh[64];   // bits 4, 5: bits 2s, 2s+1 of byte 32*h + j
  int8_t scales[16];
  uint16_t d;
};
static_assert(sizeof(BlockQ6_K) == 210);

struct BlockQ8_K {  // x = d * q; an activation format, and the only block with a float scale
  static constexpr int kElems = 256;
  float d;
  int8_t qs[256];
  int16_t bsums[16];  // sums of 16 neighbouring qs
};
static_assert(sizeof(BlockQ8_K) == 292);

// ---- codebook formats: groups of 4 or 8 numbers are rows of a table (quant/codebooks.h) ----

struct BlockIQ1_S {  // 8 sub-blocks of 32, each 4 grid rows of 8
  static constexpr int kElems = 256;
  uint16_t d;
  uint8_t qs[32];  // grid index, bits 0..7
  uint16_t qh[8];  // a sub-block: 4 x 3 index bits (8..10), 3 bits of scale, sign of delta
};
static_assert(sizeof(BlockIQ1_S) == 50);

struct BlockIQ1_M {  // 16 sub-blocks of 16, each 2 grid rows of 8
  static constexpr int kElems = 256;
  uint8_t qs[32];      // grid index, bits 0..7
  uint8_t qh[16];      // a nibble a grid row: index bits 8..10, sign of delta
  uint16_t scales[4];  // 4 x 3 bits of scale; the top nibbles together are the half d
};
static_assert(sizeof(BlockIQ1_M) == 56);

struct BlockIQ2_XXS {  // 8 sub-blocks of 32
  static constexpr int kElems = 256;
  uint16_t d;
  uint8_t qs[64];  // a sub-block: 4 grid indices, then 32 bits: 4 x 7 signs and 4 bits of scale
};
static_assert(sizeof(BlockIQ2_XXS) == 66);

struct BlockIQ2_XS {  // 16 sub-blocks of 16
  static constexpr int kElems = 256;
  uint16_t d;
  uint16_t qs[32];    // grid index (9 bits), sign bits (7)
  uint8_t scales[8];  // 4 bits a sub-block
};
static_assert(sizeof(BlockIQ2_XS) == 74);

struct BlockIQ2_S {  // 16 sub-blocks of 16
  static constexpr int kElems = 256;
  uint16_t d;
  uint8_t qs[32];     // grid index, bits 0..7
  uint8_t signs[32];  // one bit a number
  uint8_t qh[8];      // grid index, bits 8, 9: 2 bits a grid row
  uint8_t scales[8];  // 4 bits a sub-block
};
static_assert(sizeof(BlockIQ2_S) == 82);

struct BlockIQ3_XXS {  // 8 sub-blocks of 32
  static constexpr int kElems = 256;
  uint16_t d;
  uint8_t qs[64];                // grid index; a row is 4 numbers
  uint8_t scales_and_signs[32];  // a sub-block, 32 bits: 4 x 7 sign bits and 4 bits of scale
};
static_assert(sizeof(BlockIQ3_XXS) == 98);

struct BlockIQ3_S {  // 8 sub-blocks of 32
  static constexpr int kElems = 256;
  uint16_t d;
  uint8_t qs[64];     // grid index, bits 0..7; a row is 4 numbers
  uint8_t qh[8];      // grid index, bit 8
  uint8_t signs[32];  // one bit a number
  uint8_t scales[4];  // 4 bits a sub-block
};
static_assert(sizeof(BlockIQ3_S) == 110);

struct BlockIQ4_XS {  // x = d * (scale - 32) * kIq4Values[q]; 8 sub-blocks of 32
  static constexpr int kElems = 256;
  uint16_t d;
  uint16_t scales_h;    // bits 4, 5 of the scales
  uint8_t scales_l[4];  // bits 0..3
  uint8_t qs[128];      // 16 bytes a sub-block, halves order
};
static_assert(sizeof(BlockIQ4_XS) == 136);

// ---- ternary: x = d * (q - 1), q in {0, 1, 2} ----

struct BlockTQ1_0 {
  static constexpr int kElems = 256;
  uint8_t qs[48];  // 5 base-3 digits a byte, as a fraction of 256: 32 bytes, then 16
  uint8_t qh[4];   // 4 digits a byte
  uint16_t d;
};
static_assert(sizeof(BlockTQ1_0) == 54);

struct BlockTQ2_0 {
  static constexpr int kElems = 256;
  uint8_t qs[64];  // as in BlockQ2_K
  uint16_t d;
};
static_assert(sizeof(BlockTQ2_0) == 66);

#pragma pack(pop)

}  // namespace lm
