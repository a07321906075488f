// engine/chat/answer_styler.h — an answer on a terminal, as it comes: the everyday part of Markdown
// (headings, lists, quotes, **bold**, *italic*, `code`, blocks of code) becomes style, as soon as
// it is clear what a mark means: at most a few bytes wait. Reasoning is dimmed, and left as it is.
#pragma once
#include <string>
#include <string_view>

#include "engine/chat/line_wrapper.h"

namespace lm::chat {

class AnswerStyler {
 public:
  // styled: colours and cursor control are allowed; markdown: and marks are interpreted.
  AnswerStyler(bool styled, bool markdown) : lines_(styled), markdown_(markdown) {}

  void set_columns(int columns) { lines_.set_columns(columns); }
  // Text to write now. The input is whole characters without control characters but '\n' and '\t'.
  std::string reasoning(std::string_view text);
  std::string answer(std::string_view text);
  std::string finish();  // ends the line

 private:
  enum class Block { text, heading, quote, code };

  void put_answer(char32_t c);
  bool waits_at_line_start(char32_t c);
  void end_line();
  void put_inline(char32_t c);
  void resolve_stars(char32_t next);
  void put(char32_t c);
  void restyle();

  LineWrapper lines_;
  bool markdown_;
  bool reasons_ = false;
  bool at_start_ = true;  // of a line, which could begin with a mark
  std::string start_;     // of the line, as far as it waits
  Block block_ = Block::text;
  bool bold_ = false, italic_ = false, code_ = false;
  int stars_ = 0;  // that wait for what follows
  char32_t before_stars_ = '\n', last_ = '\n';
};

}  // namespace lm::chat
