#include "engine/grammar/utf8_ranges.h"

#include <string>

#include "engine/core/utf8.h"

namespace lm::grammar {
namespace {

constexpr char32_t kLongest[] = {0x7F, 0x7FF, 0xFFFF};  // the last character of 1, 2 and 3 bytes

// The first place where [first, last] must be cut: after it, so that both halves are simpler.
// 0: nowhere, it is a single sequence. (No cut lies after 0: a range that begins there and leaves
// ASCII is cut after 0x7F.)
char32_t cut_after(CharRange range) {
  for (const char32_t longest : kLongest) {
    if (range.first <= longest && longest < range.last) return longest;
  }
  if (range.last <= kLongest[0]) return 0;
  for (int bits = 6; bits <= 18; bits += 6) {
    const char32_t low = (char32_t{1} << bits) - 1;  // the bits of the last continuation bytes
    if ((range.first & ~low) == (range.last & ~low)) break;
    if ((range.first & low) != 0) return range.first | low;
    if ((range.last & low) != low) return (range.last & ~low) - 1;
  }
  return 0;
}

}  // namespace

void append_utf8(std::vector<ByteSequence>& out, CharRange range) {
  std::vector<CharRange> pending{range};
  while (!pending.empty()) {
    const CharRange part = pending.back();
    pending.pop_back();
    if (const char32_t cut = cut_after(part); cut != 0) {
      pending.push_back({cut + 1, part.last});
      pending.push_back({part.first, cut});
      continue;
    }
    std::string first, last;
    utf8::append(first, part.first);
    utf8::append(last, part.last);
    ByteSequence sequence{{}, int(first.size())};
    for (size_t i = 0; i < first.size(); ++i) {
      sequence.bytes[i] = {uint8_t(first[i]), uint8_t(last[i])};
    }
    out.push_back(sequence);
  }
}

}  // namespace lm::grammar
