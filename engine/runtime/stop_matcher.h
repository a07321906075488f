// engine/runtime/stop_matcher.h — lets text through up to the first stop text.
// What could be the beginning of one is held back until it is clear that it isn't.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace lm {

class StopMatcher {
 public:
  // None of the stops is empty.
  explicit StopMatcher(std::vector<std::string> stops);

  // The text that may be shown now; the view lasts until the next call. Nothing after a match.
  std::string_view push(std::string_view text);
  // The end: what was held back.
  std::string_view flush();
  bool matched() const { return matched_; }

 private:
  size_t held_suffix() const;  // bytes at the end of held_ that begin a stop text

  std::vector<std::string> stops_;
  std::string held_, ready_;
  bool matched_ = false;
};

}  // namespace lm
