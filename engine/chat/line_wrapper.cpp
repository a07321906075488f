#include "engine/chat/line_wrapper.h"

#include <utility>

#include "engine/chat/width.h"
#include "engine/core/text.h"
#include "engine/core/utf8.h"

namespace lm::chat {
namespace {

constexpr int kTab = 8;

// Select Graphic Rendition (ECMA-48).
std::string escape_of(const Style& style) {
  std::string text = "\x1b[0";
  if (style.bold) text += ";1";
  if (style.dim) text += ";2";
  if (style.italic) text += ";3";
  if (style.code) text += ";36";
  return text + "m";
}

}  // namespace

void LineWrapper::apply_style() {
  if (!control_ || style_ == shown_) return;
  const std::string escape = escape_of(style_);
  out_ += escape;
  if (word_width_ > 0) word_ += escape;
  shown_ = style_;
}

// The last column stays free: writing to it makes terminals differ in where they go on.
void LineWrapper::break_before_word(int width) {
  if (!control_ || !wraps_ || columns_ == 0 || column_ + width < columns_) return;
  const bool takes_word_back = word_width_ > 0 && word_width_ < column_;
  if (takes_word_back) {
    out_ += concat("\x1b[", word_width_, "D\x1b[K\n", escape_of(word_style_), word_);
    column_ = word_width_;
  } else {
    out_ += '\n';
    word_.clear();
    column_ = word_width_ = 0;
  }
}

void LineWrapper::put(char32_t c) {
  if (c == '\n') {
    out_ += '\n';
    word_.clear();
    column_ = word_width_ = 0;
    return;
  }
  const int width = c == '\t' ? kTab - column_ % kTab : char_width(c);
  const bool space = c == ' ' || c == '\t';
  const bool stands_alone = space || width > 1;  // a line may be broken on both of its sides
  if (stands_alone) {
    word_.clear();
    word_width_ = 0;
  }
  const bool had_text = column_ > 0;
  if (had_text || !space) break_before_word(width);
  if (space && had_text && column_ == 0) return;  // the line break stands for it
  if (!stands_alone && word_width_ == 0) word_style_ = style_;
  apply_style();
  utf8::append(out_, c);
  column_ += width;
  if (stands_alone) return;
  utf8::append(word_, c);
  word_width_ += width;
}

void LineWrapper::end_line() {
  style_ = {};
  apply_style();
  if (column_ > 0) put('\n');
}

std::string LineWrapper::take() {
  return std::exchange(out_, {});
}

}  // namespace lm::chat
