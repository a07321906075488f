// How values look as text: Python's str() and repr().
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "engine/core/text.h"
#include "engine/core/utf8.h"
#include "engine/text/jinja/value.h"

namespace lm::jinja {
namespace {

// Characters that repr() writes as they are. Unassigned and format characters are not told apart.
bool is_printable(char32_t c) {
  return c >= 0x20 && c != 0x7F && (c < 0x80 || c > 0xA0) && c != 0xAD &&
         !(c > 0x20 && is_space(c));
}

std::string escaped(char32_t c) {
  if (c == '\n') return "\\n";
  if (c == '\r') return "\\r";
  if (c == '\t') return "\\t";
  std::array<char, 16> text;
  std::snprintf(text.data(), text.size(), c < 0x100 ? "\\x%02x" : "\\u%04x", unsigned(c));
  return text.data();
}

Status print_quoted(TextBuilder& out, const Text& text) {
  const std::string_view bytes = text.bytes();
  const bool has_single = bytes.find('\'') != std::string_view::npos;
  const bool has_double = bytes.find('"') != std::string_view::npos;
  const char quote = has_single && !has_double ? '"' : '\'';
  LM_TRY(out.append(std::string(1, quote)));
  for (size_t at = 0; at < bytes.size();) {
    const utf8::Decoded d = utf8::decode(bytes.substr(at));
    const size_t end = at + size_t(d.length);
    if (d.code_point == char32_t(quote) || d.code_point == '\\') {
      LM_TRY(out.append("\\", text.origin()));
      LM_TRY(out.append(bytes.substr(at, 1), text.origin()));
    } else if (is_printable(d.code_point)) {
      LM_TRY(out.append(bytes.substr(at, end - at), text.origin()));
    } else {
      LM_TRY(out.append(escaped(d.code_point), text.origin()));
    }
    at = end;
  }
  return out.append(std::string(1, quote));
}

Status print_repr(TextBuilder& out, Meter& meter, const Value& value) {
  if (value.is_string()) return print_quoted(out, value.as_text());
  if (value.is_undefined()) return out.append("Undefined");
  return print(out, meter, value);
}

Status print_list(TextBuilder& out, Meter& meter, const Value& list) {
  LM_TRY(out.append(list.is_tuple() ? "(" : "["));
  const char* separator = "";
  for (const Value& item : list.items()) {
    LM_TRY(out.append(separator));
    LM_TRY(print_repr(out, meter, item));
    separator = ", ";
  }
  if (list.is_tuple()) return out.append(list.items().size() == 1 ? ",)" : ")");
  return out.append("]");
}

Status print_dict(TextBuilder& out, Meter& meter, const Dict& dict) {
  LM_TRY(out.append("{"));
  const char* separator = "";
  for (const auto& [key, value] : dict.entries) {
    LM_TRY(out.append(separator));
    LM_TRY(print_repr(out, meter, key));
    LM_TRY(out.append(": "));
    LM_TRY(print_repr(out, meter, value));
    separator = ", ";
  }
  return out.append("}");
}

}  // namespace

// Shortest digits that read back the same, laid out as Python does: an exponent below 1e-4 and from
// 1e16 on.
std::string real_to_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  std::array<char, 512> buffer;
  const double size = std::fabs(value);
  const bool exponent = size != 0 && (size < 1e-4 || size >= 1e16);
  const auto result =
      std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                    exponent ? std::chars_format::scientific : std::chars_format::fixed);
  std::string text(buffer.data(), result.ptr);
  if (!exponent && text.find('.') == std::string::npos) text += ".0";
  return text;
}

Status print(TextBuilder& out, Meter& meter, const Value& value) {
  LM_TRY(meter.step());
  switch (value.kind()) {
    case Kind::undefined:
      return ok();
    case Kind::none:
      return out.append("None");
    case Kind::boolean:
      return out.append(value.truth() ? "True" : "False");
    case Kind::integer:
      return out.append(std::to_string(value.as_integer()));
    case Kind::real:
      return out.append(real_to_text(value.as_real()));
    case Kind::string:
      return out.append(value.as_text());
    case Kind::list:
      return print_list(out, meter, value);
    case Kind::dict:
      return print_dict(out, meter, value.as_dict());
    case Kind::name_space:
      return out.append("<Namespace>");
    case Kind::function:
      return out.append(concat("<function ", value.as_function().name, ">"));
    case Kind::loop:
      return out.append("<LoopContext>");
  }
  return ok();
}

Result<Text> to_text(Meter& meter, const Value& value) {
  if (value.is_string()) {
    LM_TRY(meter.memory(value.as_text().cost()));
    return value.as_text();
  }
  TextBuilder out(meter);
  LM_TRY(print(out, meter, value));
  return out.take();
}

}  // namespace lm::jinja
