// engine/cli/key_reader.h — what a person types, as characters: waits without using the processor,
// and listens to signals meanwhile.
#pragma once
#include <deque>
#include <optional>
#include <string>

#include "engine/cli/signals.h"

namespace lm::cli {

class KeyReader {
 public:
  enum class End { none, input, signal };  // why there is no character

  explicit KeyReader(int fd, Signals& signals) : fd_(fd), signals_(&signals) {}

  // The next character; invalid UTF-8 becomes U+FFFD. nullopt: end() says why.
  std::optional<char32_t> next();
  End end() const { return end_; }
  void restart() { end_ = End::none; }
  void put_back(std::u32string_view characters);  // they come next

  // The text of a paste that has begun, up to its end mark, newlines as '\n'. What could do more
  // than stand for itself (control characters) is left out.
  std::string rest_of_paste();

 private:
  bool fill();  // waits for bytes

  int fd_;
  Signals* signals_;
  std::string bytes_;  // read and not yet characters
  std::deque<char32_t> waiting_;
  End end_ = End::none;
};

}  // namespace lm::cli
