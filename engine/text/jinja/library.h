// engine/text/jinja/library.h — what a template can call that is not its own: filters, tests,
// methods of values, global functions. Every name is looked up here, by the value it is used on.
#pragma once
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/text/jinja/calendar.h"
#include "engine/text/jinja/value.h"

namespace lm::jinja {

struct Context {
  Meter& meter;
  const CalendarTime& now;
};

struct CallArguments {
  std::vector<Value> positional{};
  std::vector<std::pair<std::string, Value>> named{};
};

// The arguments by parameter, in the order of `parameters`; the first `required` must be there.
using Bound = std::vector<std::optional<Value>>;
Result<Bound> bind(std::string_view callee, const CallArguments& arguments,
                   std::initializer_list<std::string_view> parameters, size_t required = 0);

// A bound argument, or what stands for it; an error when it is of another kind.
Result<int64_t> integer_or(const std::optional<Value>& argument, int64_t otherwise);
Result<bool> boolean_or(const std::optional<Value>& argument, bool otherwise);
Result<Text> text_or(Meter& meter, const std::optional<Value>& argument,
                     std::string_view otherwise);

using Filter = Result<Value> (*)(Context&, const Value&, const CallArguments&);
template <class Entry>
struct Named {
  std::string_view name;
  Entry entry;
};

Result<Value> apply_filter(Context& context, std::string_view name, const Value& value,
                           const CallArguments& arguments);
Result<bool> apply_test(Context& context, std::string_view name, const Value& value,
                        const CallArguments& arguments);
bool has_filter(std::string_view name);
bool has_test(std::string_view name);

// value.name: a method before an entry; value[key]: an entry before a method. Undefined when there
// is no such thing.
Result<Value> get_attribute(Context& context, const Value& value, std::string_view name);
Result<Value> get_item(Context& context, const Value& value, const Value& key);
Result<Value> get_slice(Context& context, const Value& value, const Value& from, const Value& to,
                        const Value& step);
// "a.b.0", as the attribute= of filters has it.
Result<Value> get_path(Context& context, const Value& value, const Value& path);

bool has_method(const Value& self, std::string_view name);
Result<Value> call_method(Context& context, const Value& self, std::string_view name,
                          const CallArguments& arguments);
Result<Value> call_string_method(Context& context, const Text& self, std::string_view name,
                                 const CallArguments& arguments);
bool has_string_method(std::string_view name);

// a op b for + - * / // % **.
Result<Value> arithmetic(Context& context, std::string_view op, const Value& a, const Value& b);
// "%s and %d" % arguments.
Result<Value> format_percent(Context& context, const Text& format, const Value& arguments);
// "{} and {name}".format(...).
Result<Value> format_braces(Context& context, const Text& format, const CallArguments& arguments);

struct JsonStyle {
  std::optional<std::string> indent{};  // one level of it; none: one line
  std::string item_separator = ", ", key_separator = ": ";
  bool ascii = false, sorted = false;
};
Status write_json(TextBuilder& out, Meter& meter, const Value& value, const JsonStyle& style);

// Strings, as filters and methods share them.
enum class Side { left = 1, right = 2, both = 3 };
Result<Value> strip(Context& context, const Text& text, const std::optional<Value>& characters,
                    Side side);
Result<Value> replace(Context& context, const Text& text, const Text& from, const Text& to,
                      int64_t most);
Result<Value> pad(Context& context, const Text& text, int64_t width, std::string_view fill,
                  Side where);  // where the text stands: left, right, both (the middle)
enum class Case { upper, lower, title, capitalize, swap };
Result<Value> with_case(Context& context, const Text& text, Case how);
char32_t to_upper(char32_t c);
char32_t to_lower(char32_t c);
Result<Value> join(Context& context, const std::vector<Value>& items, const Text& separator);

// Sorts stably; an error when two of them have no order. Pairs of key and value, by key.
Status sort_by_key(Meter& meter, std::vector<std::pair<Value, Value>>& items, bool descending);

}  // namespace lm::jinja
