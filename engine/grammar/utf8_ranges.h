// engine/grammar/utf8_ranges.h — a range of characters as sequences of byte ranges: what an
// automaton over bytes needs to read UTF-8. (The idea is Ken Thompson's, described by Russ Cox,
// "Regular Expression Matching in the Wild", 2010.)
#pragma once
#include <array>
#include <cstdint>
#include <vector>

#include "engine/grammar/char_set.h"

namespace lm::grammar {

struct ByteRange {
  uint8_t first, last;
};

struct ByteSequence {
  std::array<ByteRange, 4> bytes;
  int length;
};

// The sequences together spell exactly the characters of `range`, which holds no surrogates.
void append_utf8(std::vector<ByteSequence>& out, CharRange range);

}  // namespace lm::grammar
