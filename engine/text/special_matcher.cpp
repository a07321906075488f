#include "engine/text/special_matcher.h"

namespace lm {

SpecialMatcher::SpecialMatcher() {
  roots_.fill(-1);
}

int32_t SpecialMatcher::child(int32_t node, char byte) const {
  int32_t at = nodes_[static_cast<size_t>(node)].child;
  while (at >= 0 && nodes_[static_cast<size_t>(at)].byte != byte) {
    at = nodes_[static_cast<size_t>(at)].sibling;
  }
  return at;
}

void SpecialMatcher::add(std::string_view text, TokenId id) {
  if (text.empty()) return;
  int32_t& root = roots_[static_cast<unsigned char>(text[0])];
  if (root < 0) {
    root = static_cast<int32_t>(nodes_.size());
    nodes_.push_back({-1, -1, -1, text[0]});
  }
  int32_t node = root;
  for (const char byte : text.substr(1)) {
    int32_t next = child(node, byte);
    if (next < 0) {
      next = static_cast<int32_t>(nodes_.size());
      nodes_.push_back({-1, nodes_[static_cast<size_t>(node)].child, -1, byte});
      nodes_[static_cast<size_t>(node)].child = next;
    }
    node = next;
  }
  TokenId& end = nodes_[static_cast<size_t>(node)].id;
  if (end < 0) end = id;
}

std::optional<SpecialMatcher::Match> SpecialMatcher::find(std::string_view text,
                                                          size_t from) const {
  if (nodes_.empty()) return std::nullopt;
  for (size_t begin = from; begin < text.size(); ++begin) {
    std::optional<Match> longest;
    int32_t node = roots_[static_cast<unsigned char>(text[begin])];
    for (size_t end = begin + 1; node >= 0; ++end) {
      const TokenId id = nodes_[static_cast<size_t>(node)].id;
      if (id >= 0) longest = Match{begin, end - begin, id};
      if (end == text.size()) break;
      node = child(node, text[end]);
    }
    if (longest) return longest;
  }
  return std::nullopt;
}

}  // namespace lm
