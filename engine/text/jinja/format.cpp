// "%s" % value and "{}".format(value): the conversions that Python has for both, without the
// corners nobody needs (no "*" widths, no nested fields).
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "engine/core/text.h"
#include "engine/text/jinja/library.h"

namespace lm::jinja {
namespace {

constexpr int64_t kMaxWidth = 10'000;
constexpr int kMaxPrecision = 300;

struct Conversion {
  bool left = false, plus = false, space = false, zero = false, other = false;
  int64_t width = 0;
  int precision = -1;  // -1: none given
  char type = 's';
};

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

Result<int64_t> digits(std::string_view text, size_t& at, int64_t most) {
  int64_t value = 0;
  for (; at < text.size() && is_digit(text[at]); ++at) {
    value = value * 10 + (text[at] - '0');
    if (value > most) return template_error(concat("expected a width of at most ", most));
  }
  return value;
}

// From behind the '%' (and its name) to behind the letter.
Result<Conversion> conversion(std::string_view text, size_t& at) {
  Conversion c;
  for (; at < text.size(); ++at) {
    bool* const flag = text[at] == '-'   ? &c.left
                       : text[at] == '+' ? &c.plus
                       : text[at] == ' ' ? &c.space
                       : text[at] == '0' ? &c.zero
                       : text[at] == '#' ? &c.other
                                         : nullptr;
    if (flag == nullptr) break;
    *flag = true;
  }
  c.width = LM_TRY(digits(text, at, kMaxWidth));
  if (at < text.size() && text[at] == '.') {
    ++at;
    c.precision = int(LM_TRY(digits(text, at, kMaxPrecision)));
  }
  if (at >= text.size()) return template_error("expected a letter after %, found the end");
  c.type = text[at++];
  return c;
}

// Right-aligned unless c.left; zeros go behind the sign.
Result<Text> padded(const Conversion& c, Text text, bool is_number) {
  const auto size = int64_t(count_characters(text.bytes()));
  if (size >= c.width) return text;
  const std::string fill(size_t(c.width - size), is_number && c.zero && !c.left ? '0' : ' ');
  Text out;
  if (c.left) {
    out.append(text);
    out.append(fill);
    return out;
  }
  const bool is_signed = !text.empty() && (text.bytes()[0] == '-' || text.bytes()[0] == '+');
  const size_t sign = fill[0] == '0' && is_signed ? 1 : 0;
  out.append(text, 0, sign);
  out.append(fill);
  out.append(text, sign, text.size());
  return out;
}

std::string with_sign(const Conversion& c, bool negative, std::string digits) {
  return (negative ? "-" : c.plus ? "+" : c.space ? " " : "") + digits;
}

Result<std::string> whole(const Conversion& c, const Value& value) {
  int64_t number = 0;
  if (value.is_whole()) {
    number = value.as_integer();
  } else if (value.is(Kind::real) && std::fabs(value.as_real()) < 9e18 && c.type != 'x') {
    number = int64_t(value.as_real());
  } else {
    return template_error(
        concat("expected an integer for %", c.type, ", found ", kind_name(value)));
  }
  const uint64_t size = number < 0 ? 0 - uint64_t(number) : uint64_t(number);
  std::array<char, 32> text;
  switch (c.type) {
    case 'x':
      std::snprintf(text.data(), text.size(), "%lx", size);
      break;
    case 'X':
      std::snprintf(text.data(), text.size(), "%lX", size);
      break;
    case 'o':
      std::snprintf(text.data(), text.size(), "%lo", size);
      break;
    default:
      std::snprintf(text.data(), text.size(), "%lu", size);
      break;
  }
  std::string digits = text.data();
  if (c.precision > int(digits.size())) digits.insert(0, size_t(c.precision) - digits.size(), '0');
  const std::string base = !c.other ? "" : c.type == 'd' ? "" : std::string("0") + c.type;
  return with_sign(c, number < 0, base + digits);
}

Result<std::string> real(const Conversion& c, const Value& value) {
  if (!value.is_number()) {
    return template_error(concat("expected a number for %", c.type, ", found ", kind_name(value)));
  }
  const double number = value.as_real();
  const int precision = c.precision < 0 ? 6 : c.precision;
  std::array<char, 640> text;  // 309 digits, a point and kMaxPrecision more
  const double size = std::fabs(number);
  switch (c.type) {
    case 'e':
      std::snprintf(text.data(), text.size(), "%.*e", precision, size);
      break;
    case 'E':
      std::snprintf(text.data(), text.size(), "%.*E", precision, size);
      break;
    case 'g':
      std::snprintf(text.data(), text.size(), "%.*g", precision, size);
      break;
    case 'G':
      std::snprintf(text.data(), text.size(), "%.*G", precision, size);
      break;
    default:
      std::snprintf(text.data(), text.size(), "%.*f", precision, size);
      break;
  }
  return with_sign(c, std::signbit(number), text.data());
}

Result<Text> converted(Context& context, const Conversion& c, const Value& value) {
  switch (c.type) {
    case 's':
    case 'r': {
      Value printed = value;
      if (c.type == 'r' && value.is_string()) {  // quoted, as inside a list
        const Value list = LM_TRY(make_list(context.meter, {value}));
        const Text text = LM_TRY(to_text(context.meter, list));
        printed = Value::text(text.slice(1, text.size() - 1));
      }
      Text text = LM_TRY(to_text(context.meter, printed));
      if (c.precision >= 0) {
        text = text.slice(0, byte_offset(text.bytes(), size_t(c.precision)));
      }
      return padded(c, std::move(text), false);
    }
    case 'd':
    case 'i':
    case 'u':
    case 'x':
    case 'X':
    case 'o':
      return padded(c, Text(LM_TRY(whole(c, value))), true);
    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G':
      return padded(c, Text(LM_TRY(real(c, value))), true);
    default:
      return template_error(
          concat("expected a conversion, found %", printable(std::string(1, c.type))));
  }
}

// The arguments of one formatting, taken in turn or by name.
class Supply {
 public:
  explicit Supply(const Value& arguments) : arguments_(arguments) {}

  Result<Value> next() {
    if (!arguments_.is_tuple()) {
      if (used_++ > 0) return template_error("expected more arguments to format, found one");
      return arguments_;
    }
    if (used_ == arguments_.items().size()) {
      return template_error(concat("expected more arguments to format, found ", used_));
    }
    return arguments_.items()[used_++];
  }

  Result<Value> named(Meter& meter, std::string_view name) {
    used_ = 1;
    const Value* value = nullptr;
    if (arguments_.is(Kind::dict)) value = LM_TRY(find(meter, arguments_.as_dict(), name));
    if (value != nullptr) return *value;
    return template_error(concat("expected an argument \"", printable(name, 60), "\" to format"));
  }

  Status check_all_used() const {
    const bool left = arguments_.is_tuple()
                          ? used_ < arguments_.items().size()
                          : used_ == 0 && !arguments_.is(Kind::dict) && !arguments_.is(Kind::list);
    if (!left) return ok();
    return template_error("expected as many arguments as the format has places, found more");
  }

 private:
  const Value& arguments_;
  size_t used_ = 0;
};

}  // namespace

Result<Value> format_percent(Context& context, const Text& format, const Value& arguments) {
  TextBuilder out(context.meter);
  Supply supply(arguments);
  const std::string_view text = format.bytes();
  for (size_t at = 0; at < text.size();) {
    const size_t percent = std::min(text.find('%', at), text.size());
    LM_TRY(out.append(format, at, percent));
    if (percent == text.size()) break;
    at = percent + 1;
    if (at < text.size() && text[at] == '%') {
      LM_TRY(out.append(format, at, at + 1));
      ++at;
      continue;
    }
    std::optional<Value> value;
    if (at < text.size() && text[at] == '(') {
      const size_t close = text.find(')', at);
      if (close == std::string_view::npos) return template_error("expected ) after %(, found none");
      value = LM_TRY(supply.named(context.meter, text.substr(at + 1, close - at - 1)));
      at = close + 1;
    }
    const Conversion c = LM_TRY(conversion(text, at));
    if (!value) value = LM_TRY(supply.next());
    LM_TRY(out.append(LM_TRY(converted(context, c, *value))));
  }
  LM_TRY(supply.check_all_used());
  return out.finish();
}

namespace {

// The format behind the ':' of a field: [fill][<>^][sign][#][0][width][.precision][type].
Result<Text> formatted(Context& context, std::string_view spec, const Value& value) {
  Conversion c;
  size_t at = 0;
  char align = '\0';
  if (at < spec.size() && (spec[at] == '<' || spec[at] == '>')) align = spec[at++];
  if (at < spec.size() && (spec[at] == '^' || spec[at] == '=')) {
    return template_error("expected a format without ^ and =");
  }
  std::string rest(spec.substr(at));
  const bool has_type = !rest.empty() && !is_digit(rest.back());
  if (!has_type) rest += value.is_number() && !value.is(Kind::real) ? 'd' : 's';
  at = 0;
  c = LM_TRY(conversion(rest, at));
  if (at != rest.size()) return template_error("expected a format, found more behind it");
  c.left = align == '<' || (align == '\0' && !value.is_number());
  return converted(context, c, value);
}

Result<Value> field_value(Context& context, std::string_view field, const CallArguments& arguments,
                          size_t& next) {
  const size_t end = std::min(field.find_first_of(".["), field.size());
  const std::string_view name = field.substr(0, end);
  if (end != field.size()) return template_error("expected a plain name between { and }");
  const std::optional<int64_t> number = parse_int(name);
  if (name.empty() || number) {
    const auto i = number ? size_t(*number) : next++;
    if (i < arguments.positional.size()) return arguments.positional[i];
    return template_error("expected more arguments to format");
  }
  for (const auto& [key, value] : arguments.named) {
    LM_TRY(context.meter.step());
    if (key == name) return value;
  }
  return template_error(concat("expected an argument \"", printable(name, 60), "\" to format"));
}

}  // namespace

Result<Value> format_braces(Context& context, const Text& format, const CallArguments& arguments) {
  TextBuilder out(context.meter);
  const std::string_view text = format.bytes();
  size_t next = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t brace = std::min(text.find_first_of("{}", at), text.size());
    LM_TRY(out.append(format, at, brace));
    if (brace == text.size()) break;
    at = brace + 1;
    if (at < text.size() && text[at] == text[brace]) {
      LM_TRY(out.append(format, at, at + 1));
      ++at;
      continue;
    }
    const size_t close = text.find('}', at);
    if (text[brace] == '}' || close == std::string_view::npos) {
      return template_error("expected { and } in pairs in a format");
    }
    const std::string_view field = text.substr(at, close - at);
    const size_t colon = std::min(field.find(':'), field.size());
    const Value value = LM_TRY(field_value(context, field.substr(0, colon), arguments, next));
    const std::string_view spec = field.substr(std::min(colon + 1, field.size()));
    LM_TRY(out.append(LM_TRY(formatted(context, spec, value))));
    at = close + 1;
  }
  return out.finish();
}

}  // namespace lm::jinja
