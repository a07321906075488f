#include "engine/text/call_body.h"

#include <utility>

#include "engine/core/json.h"

namespace lm {
namespace {

constexpr std::string_view kSpaces = " \t\r\n";
constexpr std::string_view kCodeTool = "python";  // what runs Llama's <|python_tag|>

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(kSpaces);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpaces) - begin + 1);
}

// The text up to `mark`, which is taken from `rest` with it; all of it when there is no mark.
std::string_view cut_at(std::string_view& rest, std::string_view mark) {
  const size_t at = rest.find(mark);
  const std::string_view part = rest.substr(0, at);
  rest.remove_prefix(at == std::string_view::npos ? rest.size() : at + mark.size());
  return part;
}

// A number, a list and their like as they are written; anything else is a string.
Json value_of(std::string_view text) {
  Result<Json> value = parse_json(trimmed(text));
  if (value.ok()) return std::move(value).value();
  if (text.starts_with('\n')) text.remove_prefix(1);
  if (text.ends_with('\n')) text.remove_suffix(1);
  return Json(std::string(text));
}

}  // namespace

CallBody CallBody::of_tool(std::string name) {
  CallBody body(ToolSyntax::none);
  body.name_ = std::move(name);
  body.style_ = Style::arguments;
  return body;
}

bool CallBody::in_string() const {
  return style_ == Style::json ? json_.in_string()
                               : style_ == Style::arguments && value_.in_string();
}

void CallBody::feed(char c) {
  if (state_ != State::open) return;
  if (style_ == Style::unknown) {
    if (kSpaces.find(c) != std::string_view::npos) return;
    style_ = c == '{' ? Style::json : Style::head;
  }
  switch (style_) {
    case Style::json:
      switch (json_.feed(c)) {
        case JsonCall::State::open:
          return;
        case JsonCall::State::done:
          state_ = State::done;
          return;
        case JsonCall::State::broken:
          state_ = State::broken;
          return;
      }
      return;
    case Style::arguments:
      return feed_arguments(c);
    default:
      break;
  }
  const bool arguments_follow = syntax_ == ToolSyntax::mistral || syntax_ == ToolSyntax::deepseek;
  if (!arguments_follow || c != '{') {
    head_ += c;
    return;
  }
  read_head();
  style_ = Style::arguments;
  if (state_ == State::open) feed_arguments(c);
}

void CallBody::feed_arguments(char c) {
  if (value_.kind() == JsonValue::Kind::none) {
    if (kSpaces.find(c) != std::string_view::npos) return;
    value_.begin(c);
    arguments_ += c;
  } else if (value_.feed(c)) {
    arguments_ += c;
  }
  if (value_.ended()) state_ = State::done;
}

// "name", "name[CALL_ID]id[ARGS]", "function<｜tool▁sep｜>name\n```json\n", "name<｜tool▁sep｜>"
void CallBody::read_head() {
  std::string_view rest = head_;
  if (syntax_ == ToolSyntax::mistral) {
    std::string_view before = cut_at(rest, marks::kArgs);
    name_ = trimmed(cut_at(before, marks::kCallId));
    id_ = trimmed(before);
  } else {
    const std::string_view before = cut_at(rest, marks::kSep);
    std::string_view after = trimmed(rest);
    const std::string_view line = trimmed(cut_at(after, "\n"));
    name_ = line.empty() || line.starts_with("```") ? trimmed(before) : line;
  }
  const bool plausible = !name_.empty() && name_.find_first_of(kSpaces) == std::string::npos;
  if (!plausible) state_ = State::broken;
}

void CallBody::end() {
  if (state_ != State::open) return;
  state_ = State::broken;
  if (style_ == Style::arguments) {
    const bool empty = value_.kind() == JsonValue::Kind::none;
    if (empty) arguments_ = "{}";
    const bool scalar = value_.kind() == JsonValue::Kind::scalar && parse_json(arguments_).ok();
    if (empty || scalar) state_ = State::done;
    return;
  }
  if (style_ != Style::head) return;
  if (syntax_ == ToolSyntax::llama3) {
    name_ = kCodeTool;
    arguments_ = dump_json(Json{{"code", head_}});
    state_ = State::done;
  } else if (syntax_ == ToolSyntax::tags && (read_functions() || read_pairs())) {
    state_ = State::done;
  }
}

// <function=name> <parameter=key> value </parameter> … </function>
bool CallBody::read_functions() {
  std::string_view rest = head_;
  if (!rest.starts_with(marks::kFunction)) return false;
  rest.remove_prefix(marks::kFunction.size());
  name_ = trimmed(cut_at(rest, ">"));
  if (name_.empty()) return false;
  Json arguments = Json::object();
  std::string_view parameters = cut_at(rest, marks::kFunctionEnd);
  if (trimmed(parameters).starts_with('{')) {  // Llama 3.1's form has JSON in it
    arguments_ = trimmed(parameters);
    return parse_json(arguments_).ok();
  }
  for (cut_at(parameters, marks::kParameter); !parameters.empty();
       cut_at(parameters, marks::kParameter)) {
    const std::string key(trimmed(cut_at(parameters, ">")));
    arguments[key] = value_of(cut_at(parameters, marks::kParameterEnd));
  }
  arguments_ = dump_json(arguments);
  return true;
}

// name <arg_key>key</arg_key> <arg_value>value</arg_value> …
bool CallBody::read_pairs() {
  std::string_view rest = head_;
  name_ = trimmed(cut_at(rest, marks::kArgKey));
  const bool plausible = !name_.empty() && name_.find_first_of(" \t\r\n<>\"") == std::string::npos;
  if (!plausible) return false;
  Json arguments = Json::object();
  while (!rest.empty()) {
    const std::string key(trimmed(cut_at(rest, marks::kArgKeyEnd)));
    cut_at(rest, marks::kArgValue);
    arguments[key] = value_of(cut_at(rest, marks::kArgValueEnd));
    cut_at(rest, marks::kArgKey);
  }
  arguments_ = dump_json(arguments);
  return true;
}

bool CallBody::take_name(std::string& name) {
  if (name_taken_) return false;
  if (style_ == Style::json) {
    name_taken_ = json_.take_name(name);
  } else if (!name_.empty() && state_ != State::broken) {
    name_taken_ = true;
    name = name_;
  }
  return name_taken_;
}

std::string CallBody::take_arguments() {
  if (!name_taken_) return {};
  return style_ == Style::json ? json_.take_arguments() : std::exchange(arguments_, {});
}

}  // namespace lm
