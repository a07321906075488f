// engine/text/jinja/value.h — the values of a template: Python's, as far as templates see them.
// Values are immutable and shared; only a namespace changes. What can be large is made through
// functions that charge a Meter, so that no template can use more than its share.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "engine/core/result.h"
#include "engine/text/jinja/text.h"

namespace lm::jinja {

inline constexpr int kMaxNesting = 128;  // of lists and dictionaries

// What one rendering may still use.
class Meter {
 public:
  Meter(uint64_t steps, uint64_t bytes) : steps_(steps), bytes_(bytes) {}
  Status step(uint64_t n = 1);
  Status memory(uint64_t bytes);
  void owe(uint64_t n) { steps_ -= n < steps_ ? n : steps_; }  // the next step() says so

 private:
  uint64_t steps_, bytes_;
};

Error template_error(std::string message);  // the template, or what it was given, is wrong

class Value;
struct List;
struct Dict;
struct Namespace;
struct Function;
struct Loop;

enum class Kind {
  undefined,
  none,
  boolean,
  integer,
  real,
  string,
  list,
  dict,
  name_space,
  function,
  loop
};

class Value {
 public:
  Value() = default;  // undefined, without a reason
  static Value undefined(std::string reason);
  static Value none() { return Value(None{}); }
  static Value boolean(bool b) { return Value(b); }
  static Value integer(int64_t i) { return Value(i); }
  static Value real(double d) { return Value(d); }
  static Value text(Text text);
  static Value text(std::string_view bytes, Text::Origin origin = Text::Origin::program);
  static Value of(Namespace* space) { return Value(space); }  // owned by the rendering
  static Value of(std::shared_ptr<const Function> function) { return Value(std::move(function)); }
  static Value of(std::shared_ptr<Loop> loop) { return Value(std::move(loop)); }
  // Use make_list and make_dict, which charge for them.
  static Value of(std::shared_ptr<const List> list) { return Value(std::move(list)); }
  static Value of(std::shared_ptr<const Dict> dict) { return Value(std::move(dict)); }

  Kind kind() const { return Kind(data_.index()); }
  bool is(Kind kind_) const { return kind() == kind_; }
  bool is_undefined() const { return is(Kind::undefined); }
  bool is_string() const { return is(Kind::string); }
  bool is_number() const { return is(Kind::integer) || is(Kind::real) || is(Kind::boolean); }
  bool is_whole() const { return is(Kind::integer) || is(Kind::boolean); }

  // The kind must fit.
  std::string_view reason() const;  // undefined
  int64_t as_integer() const;       // integer, boolean
  double as_real() const;           // any number
  const Text& as_text() const;      // string
  std::string_view bytes() const { return as_text().bytes(); }
  const std::vector<Value>& items() const;  // list
  bool is_tuple() const;                    // false unless a list
  const Dict& as_dict() const;
  Namespace& as_namespace() const { return *std::get<Namespace*>(data_); }
  const Function& as_function() const { return *std::get<FunctionRef>(data_); }
  const std::shared_ptr<Loop>& as_loop() const { return std::get<LoopRef>(data_); }

  bool truth() const;
  int depth() const;  // of nesting: 0 for what holds nothing
  bool same_object(const Value& other) const;

 private:
  struct None {};
  using Reason = std::shared_ptr<const std::string>;
  using StringRef = std::shared_ptr<const Text>;
  using ListRef = std::shared_ptr<const List>;
  using DictRef = std::shared_ptr<const Dict>;
  using FunctionRef = std::shared_ptr<const Function>;
  using LoopRef = std::shared_ptr<Loop>;
  using Data = std::variant<Reason, None, bool, int64_t, double, StringRef, ListRef, DictRef,
                            Namespace*, FunctionRef, LoopRef>;
  explicit Value(Data data) : data_(std::move(data)) {}

  Data data_;
};

struct List {
  std::vector<Value> items;
  bool tuple = false;
  int depth = 1;
};

struct Dict {
  std::vector<std::pair<Value, Value>> entries;  // in the order of insertion; keys differ
  int depth = 1;
};

struct Namespace {
  std::vector<std::pair<std::string, Value>> attributes;
};

struct Macro;

// What can be called: a global function, a value's method, or a macro.
struct Function {
  std::string name;
  Value self;                    // of a method
  const Macro* macro = nullptr;  // owned by the rendering
};

// Bad when it nests too deeply or is too large.
Result<Value> make_list(Meter& meter, std::vector<Value> items, bool tuple = false);
Result<Value> make_dict(Meter& meter, std::vector<std::pair<Value, Value>> entries);
// A later entry replaces an earlier one with an equal key.
Status put(Meter& meter, std::vector<std::pair<Value, Value>>& entries, Value key, Value value);

// Text of any length, made piece by piece and paid for.
class TextBuilder {
 public:
  explicit TextBuilder(Meter& meter) : meter_(&meter) {}
  Status append(std::string_view bytes, Text::Origin origin = Text::Origin::program);
  Status append(const Text& text) { return append(text, 0, text.size()); }
  Status append(const Text& text, size_t begin, size_t end);
  const Text& text() const { return text_; }
  Value finish() { return Value::text(std::exchange(text_, {})); }
  Text take() { return std::exchange(text_, {}); }

 private:
  Meter* meter_;
  Text text_;
};

std::string_view kind_name(const Value& value);  // "a string", for messages

Result<bool> equal(Meter& meter, const Value& a, const Value& b);
Result<bool> less(Meter& meter, const Value& a, const Value& b);  // an error unless ordered
Result<bool> contains(Meter& meter, const Value& container, const Value& item);
// nullptr: there is no such key.
Result<const Value*> find(Meter& meter, const Dict& dict, const Value& key);
Result<const Value*> find(Meter& meter, const Dict& dict, std::string_view key);

// What a for loop goes over: items, keys, characters; an error when it cannot be.
Result<std::vector<Value>> iterate(Meter& meter, const Value& value);
Result<int64_t> length(Meter& meter, const Value& value);

// str(value), as {{ value }} prints it.
Result<Text> to_text(Meter& meter, const Value& value);
Status print(TextBuilder& out, Meter& meter, const Value& value);
std::string real_to_text(double value);  // as Python's repr

// Characters: `offset` counts them in UTF-8 from the start; size() when there are fewer.
size_t count_characters(std::string_view text);
size_t byte_offset(std::string_view text, size_t characters);
bool is_space(char32_t c);  // of Python's str.isspace

}  // namespace lm::jinja
