#include "quant/packed_ints.h"

#include <cstring>

namespace lm {
namespace {

// Where field i of eight lies in an AWQ word.
constexpr int kAwqNibble[8] = {0, 4, 1, 5, 2, 6, 3, 7};

uint32_t word_at(const PackedInts& packed, int64_t stream, int64_t word) {
  uint32_t value;
  std::memcpy(&value, packed.data + 4 * (stream * packed.stream_step + word * packed.word_step),
              sizeof value);
  return value;
}

bool straddles(int bits) {
  return 32 % bits != 0;
}

// 1 in every field of a word.
uint32_t ones(int bits) {
  uint32_t word = 0;
  for (int shift = 0; shift < 32; shift += bits) word |= uint32_t{1} << shift;
  return word;
}

}  // namespace

int packed_field(const PackedInts& packed, int64_t stream, int64_t index) {
  if (packed.is_i8) return int(packed.data[stream * packed.stream_step + index]) ^ 0x80;
  const uint32_t mask = (uint32_t{1} << packed.bits) - 1;
  if (packed.awq_order) index = (index & ~int64_t{7}) | kAwqNibble[index & 7];
  const int64_t bit = index * packed.bits;
  const int shift = int(bit % 32);
  uint32_t value = word_at(packed, stream, bit / 32);
  if (packed.minus_one && !straddles(packed.bits)) value += ones(packed.bits);
  value >>= shift;
  if (shift + packed.bits > 32) value |= word_at(packed, stream, bit / 32 + 1) << (32 - shift);
  if (packed.minus_one && straddles(packed.bits)) ++value;
  return int(value & mask);
}

void read_packed_stream(const PackedInts& packed, int64_t stream, int64_t n, uint8_t* out) {
  const bool plain = !packed.is_i8 && !packed.awq_order && !packed.minus_one;
  if (!plain || straddles(packed.bits)) {
    for (int64_t i = 0; i < n; ++i) out[i] = uint8_t(packed_field(packed, stream, i));
    return;
  }
  const int per_word = 32 / packed.bits;
  const uint32_t mask = (uint32_t{1} << packed.bits) - 1;
  for (int64_t i = 0; i < n; i += per_word) {
    uint32_t word = word_at(packed, stream, i / per_word);
    for (int64_t j = i; j < n && j < i + per_word; ++j, word >>= packed.bits)
      out[j] = uint8_t(word & mask);
  }
}

void write_packed_stream(const uint8_t* fields, int64_t n, int bits, int64_t word_step,
                         uint32_t* words) {
  for (int64_t i = 0; i < n; ++i) {
    const int64_t bit = i * bits;
    const int shift = int(bit % 32);
    uint32_t* word = words + bit / 32 * word_step;
    *word |= uint32_t(fields[i]) << shift;
    if (shift + bits > 32) word[word_step] |= uint32_t(fields[i]) >> (32 - shift);
  }
}

}  // namespace lm
