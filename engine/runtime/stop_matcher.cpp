#include "engine/runtime/stop_matcher.h"

#include <algorithm>
#include <utility>

#include "engine/core/check.h"

namespace lm {

StopMatcher::StopMatcher(std::vector<std::string> stops) : stops_(std::move(stops)) {
  for (const std::string& stop : stops_) LM_CHECK(!stop.empty());
}

std::string_view StopMatcher::push(std::string_view text) {
  ready_.clear();
  if (matched_) return ready_;
  held_ += text;
  size_t first = std::string::npos;
  for (const std::string& stop : stops_) first = std::min(first, held_.find(stop));
  matched_ = first != std::string::npos;
  const size_t end = matched_ ? first : held_.size() - held_suffix();
  ready_.assign(held_, 0, end);
  held_.erase(0, matched_ ? std::string::npos : end);
  return ready_;
}

std::string_view StopMatcher::flush() {
  ready_.swap(held_);
  held_.clear();
  return ready_;
}

size_t StopMatcher::held_suffix() const {
  size_t longest = 0;
  for (const std::string& stop : stops_) {
    for (size_t n = std::min(stop.size() - 1, held_.size()); n > longest; --n) {
      if (held_.compare(held_.size() - n, n, stop, 0, n) == 0) longest = n;
    }
  }
  return longest;
}

}  // namespace lm
