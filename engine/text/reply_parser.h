// engine/text/reply_parser.h — what a model writes, taken apart while it is being written:
// reasoning, the answer, and calls of tools. Every byte is looked at once and in order, so the
// result does not depend on how the text was cut into pieces, and any text gives one: what looks
// like a call but isn't stays part of the answer.
#pragma once
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/call_body.h"
#include "engine/text/reply_format.h"

namespace lm {

struct ReplyEvent {
  enum class Kind {
    reasoning,
    content,
    call_begin,      // text: the name of the tool
    call_arguments,  // more of the arguments, JSON
    call_end,        // text: the call's id, "" when the model gave none
    call_broken      // instead of call_end: the arguments are no whole JSON
  };
  Kind kind;
  std::string_view text;
};

struct ToolCall {
  std::string id, name, arguments;  // arguments: JSON, as far as it was written
  bool complete = false;
};

struct Reply {
  std::string reasoning, content;
  std::vector<ToolCall> calls;

  void take(const ReplyEvent& event);
};

class ReplyParser {
 public:
  using Sink = std::function<void(const ReplyEvent&)>;

  ReplyParser(ReplyFormat format, Sink sink);

  void push(std::string_view text);
  void finish();  // the reply has ended

 private:
  enum class Mode {
    opening,  // only white space so far: reasoning may begin
    content,
    reasoning,
    header,  // channels: before a message
    call,
    between  // calls of a list
  };
  struct Mark {
    std::string_view text;
    void (ReplyParser::*action)(std::string_view mark);
  };

  void enter(Mode mode);
  void collect_marks();  // of the mode
  void feed(char c);
  void take(char c);  // a byte that is part of no mark

  // What marks do.
  void begin_reasoning(std::string_view mark);
  void end_reasoning(std::string_view mark);
  void extend_header(std::string_view mark);
  void end_header(std::string_view mark);
  void end_message(std::string_view mark);
  void begin_call(std::string_view mark);
  void begin_list(std::string_view mark);
  void end_call(std::string_view mark);
  void end_list(std::string_view mark);

  void take_between(char c);
  void take_call(char c);
  void report_call();
  void give_back(std::string_view mark);  // what was taken for a call goes into the answer
  void end_part();
  void write(char c);
  void emit(ReplyEvent::Kind kind, std::string_view text);
  void flush();

  ReplyFormat format_;
  Sink sink_;
  Mode mode_ = Mode::opening;
  std::vector<Mark> marks_;    // of mode_
  std::string held_;           // bytes that could be the beginning of a mark
  std::string space_;          // white space that is written only if more follows
  bool keep_space_ = true;     // white space at the start of the answer is part of it
  std::string reasoning_end_;  // the mark that ends the block of reasoning
  bool part_begun_ = false;    // the present part has more than white space
  bool had_reasoning_ = false, had_content_ = false;
  std::string header_;                  // channels: of the next message
  size_t given_header_ = 0;             // bytes of it that the prompt had
  std::string raw_;                     // of a call whose name is not known yet
  bool list_begun_ = false;             // Mistral: the first call of a list comes
  bool named_ = false, ended_ = false;  // call_begin was sent; call_end was sent
  std::optional<CallBody> body_;

  ReplyEvent::Kind ready_kind_ = ReplyEvent::Kind::content;
  std::string ready_;  // to be sent at the end of push()
};

}  // namespace lm
