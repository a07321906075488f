// quant/packed_ints.h — matrices of small unsigned integers as checkpoints pack them: each row (or
// each column) is a dense little-endian stream of fields in 32-bit words. One description covers
// GPTQ (streams along K or N, 3 bits straddling words), AWQ (a fixed order inside each word) and
// compressed-tensors. Source of the layouts: AutoGPTQ qlinear_cuda.py, AutoAWQ packing_utils.py,
// compressed-tensors pack_quantized.
#pragma once
#include <cstddef>
#include <cstdint>

namespace lm {

struct PackedInts {
  const std::byte* data = nullptr;  // needs no alignment
  int bits = 0;                     // of a field, 1..8
  int64_t stream_step = 0;          // words from a stream's start to the next one's
  int64_t word_step = 1;            // words from a word of a stream to its next
  bool awq_order = false;           // the nibbles of a word are fields 0, 2, 4, 6, 1, 3, 5, 7
  // GPTQ's first format stores a zero-point less 1, by whole words where a field never straddles
  // them: a borrow from the next field must be given back.
  bool minus_one = false;
  bool is_i8 = false;  // signed bytes instead of words, stream_step in bytes: the field is x + 128
};

// Words that a stream of n fields takes.
constexpr int64_t packed_words(int64_t n, int bits) {
  return (n * bits + 31) / 32;
}

// Field `index` of a stream. The caller has checked that the stream is that long.
int packed_field(const PackedInts& packed, int64_t stream, int64_t index);

// out[i] = field i of a stream, i < n.
void read_packed_stream(const PackedInts& packed, int64_t stream, int64_t n, uint8_t* out);

// Writes field i of n into words[i * bits / 32 * word_step ...]; the words were zero before.
void write_packed_stream(const uint8_t* fields, int64_t n, int bits, int64_t word_step,
                         uint32_t* words);

}  // namespace lm
