// engine/grammar/char_set.h — a set of Unicode characters as ascending ranges. Surrogates are not
// characters: they are never in a set, so that everything in one can be written as UTF-8.
#pragma once
#include <vector>

namespace lm::grammar {

struct CharRange {
  char32_t first, last;  // both included
  bool operator==(const CharRange&) const = default;
};

class CharSet {
 public:
  CharSet() = default;                              // nothing
  explicit CharSet(std::vector<CharRange> ranges);  // in any order, overlapping or not
  static CharSet all();

  CharSet complement() const;
  CharSet intersect(const CharSet& other) const;
  bool contains(char32_t c) const;
  bool empty() const { return ranges_.empty(); }
  // Ascending; none touches the next.
  const std::vector<CharRange>& ranges() const { return ranges_; }

 private:
  std::vector<CharRange> ranges_;
};

}  // namespace lm::grammar
