// engine/text/call_body.h — one call of a tool in one of the ways in which models write it, a byte
// at a time.
#pragma once
#include <string>
#include <string_view>

#include "engine/text/json_call.h"
#include "engine/text/reply_format.h"

namespace lm {

class CallBody {
 public:
  enum class State {
    open,
    done,   // the call is whole; more may follow before its end mark, and means nothing
    broken  // this is no call
  };

  explicit CallBody(ToolSyntax syntax) : syntax_(syntax) {}
  // Arguments alone: channels name the tool in the header.
  static CallBody of_tool(std::string name);

  void feed(char c);
  void end();  // its end mark has come, or the end of the reply
  State state() const { return state_; }
  bool in_string() const;  // of its JSON: nothing in there is a mark

  bool take_name(std::string& name);  // true once, when it is known
  std::string take_arguments();       // that have become known; not before the name
  std::string id() const { return id_.empty() ? json_.id() : id_; }

 private:
  enum class Style { unknown, json, head, arguments };

  void feed_arguments(char c);
  void read_head();  // the name, from what stands before the arguments
  bool read_functions();
  bool read_pairs();

  ToolSyntax syntax_;
  Style style_ = Style::unknown;
  State state_ = State::open;
  JsonCall json_;
  JsonValue value_;
  std::string head_, name_, id_, arguments_;
  bool name_taken_ = false;
};

}  // namespace lm
