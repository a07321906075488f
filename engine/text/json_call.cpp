#include "engine/text/json_call.h"

#include <optional>
#include <utility>
#include <vector>

#include "engine/core/json.h"

namespace lm {
namespace {

bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

bool ends_scalar(char c) {
  return is_space(c) || c == ',' || c == '}' || c == ']' || c == ':' || c == '"';
}

// The string that JSON text spells; nullopt when it spells none.
std::optional<std::string> spelled_string(std::string_view text) {
  const Result<Json> value = parse_json(text);
  if (!value.ok() || !value.value().is_string()) return std::nullopt;
  return value.value().get<std::string>();
}

}  // namespace

void JsonValue::begin(char c) {
  *this = {};
  in_string_ = c == '"';
  depth_ = c == '{' || c == '[' ? 1 : 0;
  kind_ = in_string_ ? Kind::string : depth_ > 0 ? Kind::container : Kind::scalar;
}

bool JsonValue::feed(char c) {
  if (kind_ == Kind::scalar) {
    ended_ = ends_scalar(c);
    return !ended_;
  }
  if (in_string_) {
    if (escaped_) {
      escaped_ = false;
    } else if (c == '\\') {
      escaped_ = true;
    } else if (c == '"') {
      in_string_ = false;
      ended_ = depth_ == 0;
    }
  } else if (c == '"') {
    in_string_ = true;
  } else if (c == '{' || c == '[') {
    ++depth_;
  } else if (c == '}' || c == ']') {
    ended_ = --depth_ == 0;
  }
  return true;
}

bool JsonCall::in_string() const {
  return (phase_ == Phase::key || phase_ == Phase::in_value) && value_.in_string();
}

JsonCall::State JsonCall::feed(char c) {
  if (phase_ != Phase::in_value) return in_object(c);
  const bool taken = value_.feed(c);
  if (taken) (is_arguments_ ? arguments_ : text_) += c;
  if (value_.ended()) end_of_value();
  return taken ? State::open : in_object(c);
}

JsonCall::State JsonCall::in_object(char c) {
  if (phase_ == Phase::key) {
    text_ += c;
    value_.feed(c);
    if (value_.ended()) {
      key_ = spelled_string(text_).value_or("");
      phase_ = Phase::colon;
    }
    return State::open;
  }
  if (is_space(c)) return State::open;
  const bool may_end = phase_ == Phase::key_or_end || phase_ == Phase::after_value;
  if (phase_ == Phase::open && c == '{') {
    phase_ = Phase::key_or_end;
  } else if (phase_ == Phase::key_or_end && c == '"') {
    phase_ = Phase::key;
    value_.begin(c);
    text_ = c;
  } else if (phase_ == Phase::colon && c == ':') {
    phase_ = Phase::value;
  } else if (phase_ == Phase::value && c != ',' && c != '}' && c != ']' && c != ':') {
    phase_ = Phase::in_value;
    value_.begin(c);
    // Only an object can be handed on before all of it is there.
    is_arguments_ = c == '{' && (key_ == "arguments" || key_ == "parameters") && !has_arguments_;
    if (is_arguments_) arguments_.clear();
    (is_arguments_ ? arguments_ : text_) = c;
  } else if (phase_ == Phase::after_value && c == ',') {
    phase_ = Phase::key_or_end;
  } else if (may_end && c == '}') {
    if (name_.empty()) return State::broken;
    if (!has_arguments_) arguments_ = "{}";
    return State::done;
  } else {
    return State::broken;
  }
  return State::open;
}

void JsonCall::end_of_value() {
  phase_ = Phase::after_value;
  if (is_arguments_) {
    is_arguments_ = false;
    has_arguments_ = true;
    return;
  }
  const std::optional<std::string> string = spelled_string(text_);
  if (!string) return;
  if (key_ == "name" && name_.empty()) name_ = *string;
  if (key_ == "id") id_ = *string;
  // Some models write the arguments as a string that holds their JSON.
  if ((key_ == "arguments" || key_ == "parameters") && !has_arguments_) {
    arguments_ = *string;
    has_arguments_ = true;
  }
}

bool JsonCall::take_name(std::string& name) {
  if (name_.empty() || name_taken_) return false;
  name_taken_ = true;
  name = name_;
  return true;
}

std::string JsonCall::take_arguments() {
  return name_taken_ ? std::exchange(arguments_, {}) : std::string();
}

namespace {

// Where a text could end and be JSON with its open containers closed.
struct Closing {
  size_t length = 0;
  std::string open;  // '}' or ']' for each open container, the innermost last
  bool in_string = false;
};

// Bytes of an unfinished escape at the end of a string's text.
size_t unfinished_escape(std::string_view text) {
  for (size_t back = 1; back <= 5 && back <= text.size(); ++back) {
    if (text[text.size() - back] != '\\') continue;
    size_t slashes = 0;
    while (back + slashes < text.size() + 1 && text[text.size() - back - slashes] == '\\') {
      if (++slashes + back > text.size()) break;
    }
    if (slashes % 2 == 0) return 0;
    const bool unicode = back > 1 && text[text.size() - back + 1] == 'u';
    return back == 1 || unicode ? back : 0;
  }
  return 0;
}

Closing last_closing(std::string_view text) {
  Closing best;
  std::string open;
  bool expects_key = false;  // a string here would be a key
  for (size_t i = 0; i < text.size();) {
    const char c = text[i];
    if (is_space(c)) {
      ++i;
      continue;
    }
    if (c == '{' || c == '[') {
      open += c == '{' ? '}' : ']';
      expects_key = c == '{';
      best = {++i, open};
    } else if (c == '}' || c == ']') {
      if (open.empty() || open.back() != c) break;
      open.pop_back();
      best = {++i, open};
    } else if (c == ',' || c == ':') {
      expects_key = c == ',' && !open.empty() && open.back() == '}';
      ++i;
    } else {
      JsonValue value;
      value.begin(c);
      size_t end = i + 1;
      while (end < text.size() && !value.ended() && value.feed(text[end])) ++end;
      const bool finished = value.ended();
      const bool is_value = !expects_key;
      if (is_value && (finished || value.kind() == JsonValue::Kind::string)) {
        best = {end, open, !finished};
      } else if (is_value && parse_json(text.substr(i, end - i)).ok()) {
        best = {end, open};  // a whole number or word, as far as one can tell
      }
      i = end;
    }
    if (open.empty()) break;  // one value
  }
  return best;
}

}  // namespace

std::string closed_json(std::string_view partial) {
  const Closing at = last_closing(partial);
  std::string text(partial.substr(0, at.length));
  if (at.in_string) {
    text.erase(text.size() - unfinished_escape(text));
    text += '"';
  }
  text.append(at.open.rbegin(), at.open.rend());
  return parse_json(text).ok() ? text : "null";
}

}  // namespace lm
