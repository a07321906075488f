// engine/text/json_call.h — JSON as it is being written, a byte at a time: where a value ends, and
// the name and arguments of a call {"name": …, "arguments": {…}} before all of it is there.
#pragma once
#include <string>
#include <string_view>

namespace lm {

// Follows one value. What is fed need not be JSON: then it ends somewhere, or never.
class JsonValue {
 public:
  enum class Kind { none, string, container, scalar };

  // The first byte of a value.
  void begin(char c);
  // The next byte; false: it is no longer part of the value (which only a scalar can know).
  bool feed(char c);
  bool ended() const { return ended_; }
  bool in_string() const { return in_string_; }
  Kind kind() const { return kind_; }

 private:
  Kind kind_ = Kind::none;
  int depth_ = 0;
  bool in_string_ = false, escaped_ = false, ended_ = false;
};

class JsonCall {
 public:
  enum class State { open, done, broken };

  State feed(char c);  // from the '{' on
  // What became known since it was asked last.
  bool take_name(std::string& name);             // true once
  std::string take_arguments();                  // not before the name
  const std::string& id() const { return id_; }  // "" unless one was given
  bool in_string() const;                        // nothing that comes now is a mark

 private:
  enum class Phase { open, key_or_end, key, colon, value, in_value, after_value };

  State in_object(char c);
  void end_of_value();

  Phase phase_ = Phase::open;
  JsonValue value_;
  std::string key_, text_;  // of the value that is being read
  std::string name_, arguments_, id_;
  bool is_arguments_ = false, has_arguments_ = false, name_taken_ = false;
};

// The JSON that a text begins, closed: an unfinished string, list or object ends where the text
// does, and an unfinished word or key is left out. "null" when nothing has begun.
std::string closed_json(std::string_view partial);

}  // namespace lm
