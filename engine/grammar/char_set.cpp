#include "engine/grammar/char_set.h"

#include <algorithm>

namespace lm::grammar {
namespace {

constexpr char32_t kLast = 0x10FFFF, kFirstSurrogate = 0xD800, kLastSurrogate = 0xDFFF;

// Appends the part of [first, last] that lies inside [least, most].
void append_clipped(std::vector<CharRange>& out, CharRange range, char32_t least, char32_t most) {
  const char32_t first = std::max(range.first, least), last = std::min(range.last, most);
  if (first <= last) out.push_back({first, last});
}

}  // namespace

CharSet::CharSet(std::vector<CharRange> ranges) {
  std::vector<CharRange> clipped;
  clipped.reserve(ranges.size());
  for (const CharRange& range : ranges) {
    append_clipped(clipped, range, 0, kFirstSurrogate - 1);
    append_clipped(clipped, range, kLastSurrogate + 1, kLast);
  }
  std::sort(clipped.begin(), clipped.end(),
            [](const CharRange& a, const CharRange& b) { return a.first < b.first; });
  for (const CharRange& range : clipped) {
    if (!ranges_.empty() && range.first <= ranges_.back().last + 1) {
      ranges_.back().last = std::max(ranges_.back().last, range.last);
    } else {
      ranges_.push_back(range);
    }
  }
}

CharSet CharSet::all() {
  return CharSet({{0, kLast}});
}

CharSet CharSet::complement() const {
  std::vector<CharRange> gaps;
  char32_t next = 0;
  for (const CharRange& range : ranges_) {
    if (range.first > next) gaps.push_back({next, range.first - 1});
    next = range.last + 1;
  }
  if (next <= kLast) gaps.push_back({next, kLast});
  return CharSet(std::move(gaps));
}

CharSet CharSet::intersect(const CharSet& other) const {
  std::vector<CharRange> common;
  size_t i = 0, j = 0;
  while (i < ranges_.size() && j < other.ranges_.size()) {
    append_clipped(common, ranges_[i], other.ranges_[j].first, other.ranges_[j].last);
    if (ranges_[i].last < other.ranges_[j].last) {
      ++i;
    } else {
      ++j;
    }
  }
  return CharSet(std::move(common));
}

bool CharSet::contains(char32_t c) const {
  const auto after = std::upper_bound(ranges_.begin(), ranges_.end(), c,
                                      [](char32_t x, const CharRange& r) { return x < r.first; });
  return after != ranges_.begin() && c <= std::prev(after)->last;
}

}  // namespace lm::grammar
