// engine/grammar/text_cursor.h — a place in a text that is being parsed: what both parsers of
// this room begin with.
#pragma once
#include <cstddef>
#include <string_view>

namespace lm::grammar {

class TextCursor {
 protected:
  explicit TextCursor(std::string_view text) : text_(text) {}

  bool at_end() const { return pos_ >= text_.size(); }
  bool at(std::string_view what) const { return text_.substr(pos_).starts_with(what); }
  bool take(std::string_view what) {
    if (!at(what)) return false;
    pos_ += what.size();
    return true;
  }

  // The value of the hexadecimal digit here, not yet taken; -1: there is none.
  int hex_digit() const {
    const char c = at_end() ? ' ' : text_[pos_];
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
  }

  std::string_view text_;
  size_t pos_ = 0;
};

}  // namespace lm::grammar
