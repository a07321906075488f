// tojson, as Python's json.dumps writes values: ", " and ": " between them unless asked otherwise,
// keys in their order, and no escapes beyond what JSON needs (Hugging Face leaves out the HTML ones
// of Jinja's own filter).
#include <array>
#include <cmath>
#include <cstdio>

#include "engine/core/text.h"
#include "engine/core/utf8.h"
#include "engine/text/jinja/library.h"

namespace lm::jinja {
namespace {

std::string unicode_escape(char32_t c) {
  std::array<char, 16> text;
  if (c < 0x10000) {
    std::snprintf(text.data(), text.size(), "\\u%04x", unsigned(c));
  } else {
    const unsigned rest = unsigned(c) - 0x10000;
    std::snprintf(text.data(), text.size(), "\\u%04x\\u%04x", 0xD800 + (rest >> 10),
                  0xDC00 + (rest & 0x3FF));
  }
  return text.data();
}

// Empty: the character stands for itself.
std::string json_escape(char32_t c, bool ascii) {
  switch (c) {
    case '"':
      return "\\\"";
    case '\\':
      return "\\\\";
    case '\n':
      return "\\n";
    case '\r':
      return "\\r";
    case '\t':
      return "\\t";
    case '\b':
      return "\\b";
    case '\f':
      return "\\f";
    default:
      return c < 0x20 || (ascii && c > 0x7E) ? unicode_escape(c) : std::string();
  }
}

class JsonWriter {
 public:
  JsonWriter(TextBuilder& out, Meter& meter, const JsonStyle& style)
      : out_(out), meter_(meter), style_(style) {}

  Status write(const Value& value, int level) {
    LM_TRY(meter_.step());
    switch (value.kind()) {
      case Kind::none:
        return out_.append("null");
      case Kind::boolean:
        return out_.append(value.truth() ? "true" : "false");
      case Kind::integer:
        return out_.append(std::to_string(value.as_integer()));
      case Kind::real:
        return out_.append(real(value.as_real()));
      case Kind::string:
        return string(value.as_text());
      case Kind::list:
        return list(value, level);
      case Kind::dict:
        return dict(value.as_dict(), level);
      case Kind::undefined:
        return template_error(concat("cannot write as JSON: ", value.reason()));
      default:
        return template_error(concat("cannot write ", kind_name(value), " as JSON"));
    }
  }

 private:
  static std::string real(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
    return real_to_text(value);
  }

  Status string(const Text& text) {
    const std::string_view bytes = text.bytes();
    LM_TRY(out_.append("\""));
    size_t done = 0;
    for (size_t at = 0; at < bytes.size();) {
      const utf8::Decoded d = utf8::decode(bytes.substr(at, 4));
      const std::string escape = json_escape(d.code_point, style_.ascii);
      if (!escape.empty()) {
        LM_TRY(out_.append(text, done, at));
        LM_TRY(out_.append(escape, text.origin()));
        done = at + size_t(d.length);
      }
      at += size_t(d.length);
    }
    LM_TRY(out_.append(text, done, bytes.size()));
    return out_.append("\"");
  }

  Status new_line(int level) {
    if (!style_.indent) return ok();
    LM_TRY(out_.append("\n"));
    for (int i = 0; i < level; ++i) LM_TRY(out_.append(*style_.indent));
    return ok();
  }

  Status list(const Value& value, int level) {
    if (value.items().empty()) return out_.append("[]");
    LM_TRY(out_.append("["));
    bool first = true;
    for (const Value& item : value.items()) {
      if (!first) LM_TRY(out_.append(style_.item_separator));
      first = false;
      LM_TRY(new_line(level + 1));
      LM_TRY(write(item, level + 1));
    }
    LM_TRY(new_line(level));
    return out_.append("]");
  }

  Status key(const Value& value) {
    if (value.is_string()) return string(value.as_text());
    if (!value.is_number() && !value.is(Kind::none)) {
      return template_error(concat("expected a string as key of JSON, found ", kind_name(value)));
    }
    LM_TRY(out_.append("\""));
    LM_TRY(write(value, 0));
    return out_.append("\"");
  }

  Status dict(const Dict& dict, int level) {
    if (dict.entries.empty()) return out_.append("{}");
    LM_TRY(meter_.memory(dict.entries.size() * 2 * sizeof(Value)));
    std::vector<std::pair<Value, Value>> entries = dict.entries;
    if (style_.sorted) LM_TRY(sort_by_key(meter_, entries, false));
    LM_TRY(out_.append("{"));
    bool first = true;
    for (const auto& [name, value] : entries) {
      if (!first) LM_TRY(out_.append(style_.item_separator));
      first = false;
      LM_TRY(new_line(level + 1));
      LM_TRY(key(name));
      LM_TRY(out_.append(style_.key_separator));
      LM_TRY(write(value, level + 1));
    }
    LM_TRY(new_line(level));
    return out_.append("}");
  }

  TextBuilder& out_;
  Meter& meter_;
  const JsonStyle& style_;
};

}  // namespace

Status write_json(TextBuilder& out, Meter& meter, const Value& value, const JsonStyle& style) {
  return JsonWriter(out, meter, style).write(value, 0);
}

}  // namespace lm::jinja
