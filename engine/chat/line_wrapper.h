// engine/chat/line_wrapper.h — puts text on a terminal as it comes, word by word on its lines: a
// word that turns out too long for the line it began on is taken back and begins the next one.
// Nothing else on the screen is ever touched, so nothing flickers.
#pragma once
#include <cstdint>
#include <string>

namespace lm::chat {

struct Style {
  bool bold = false, italic = false, dim = false, code = false;
  bool operator==(const Style&) const = default;
};

class LineWrapper {
 public:
  // Without `control` there are no styles, and the terminal breaks the lines.
  explicit LineWrapper(bool control) : control_(control) {}

  void set_columns(int columns) { columns_ = columns; }  // 0: unlimited
  void set_style(const Style& style) { style_ = style; }
  void set_wrapping(bool wraps) { wraps_ = wraps; }  // else the terminal breaks the lines
  void put(char32_t c);
  void end_line();  // "\n", unless the line is empty
  bool at_line_start() const { return column_ == 0; }
  std::string take();  // what is to be written now

 private:
  void apply_style();
  void break_before_word(int width);

  bool control_, wraps_ = true;
  int columns_ = 0;
  Style style_, shown_;  // wanted; in effect on the terminal
  int column_ = 0;       // of the next character
  std::string word_;     // what is on the screen of the word that is being written
  int word_width_ = 0;
  Style word_style_;  // at its start
  std::string out_;
};

}  // namespace lm::chat
