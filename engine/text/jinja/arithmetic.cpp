// + - * / // % ** as Python has them, for integers of 64 bits.
#include <cmath>

#include "engine/core/text.h"
#include "engine/text/jinja/library.h"

namespace lm::jinja {
namespace {

Error out_of_range() {
  return template_error("expected integers of at most 64 bits, found a result that is larger");
}

Error mismatch(std::string_view op, const Value& a, const Value& b) {
  if (a.is_undefined()) return template_error(std::string(a.reason()));
  if (b.is_undefined()) return template_error(std::string(b.reason()));
  return template_error(concat("cannot compute ", kind_name(a), " ", op, " ", kind_name(b)));
}

Result<Value> integer_power(int64_t base, int64_t exponent) {
  if (exponent < 0) return Value::real(std::pow(double(base), double(exponent)));
  int64_t result = 1;
  if (base == 0 || base == 1 || base == -1) {
    return Value::integer(exponent == 0 ? 1 : base == -1 && exponent % 2 == 0 ? 1 : base);
  }
  for (; exponent > 0; --exponent) {  // at most 63 times before it is out of range
    if (__builtin_mul_overflow(result, base, &result)) return out_of_range();
  }
  return Value::integer(result);
}

// Rounds down, and the remainder has the sign of b.
Result<Value> integer_division(bool remainder, int64_t a, int64_t b) {
  if (b == -1) {
    int64_t negated = 0;
    if (remainder) return Value::integer(0);
    if (__builtin_sub_overflow(int64_t(0), a, &negated)) return out_of_range();
    return Value::integer(negated);
  }
  const bool adjust = a % b != 0 && (a % b < 0) != (b < 0);
  return Value::integer(remainder ? a % b + (adjust ? b : 0) : a / b - (adjust ? 1 : 0));
}

Result<Value> integers(std::string_view op, int64_t a, int64_t b) {
  int64_t result = 0;
  bool overflow = false;
  if (op == "+") {
    overflow = __builtin_add_overflow(a, b, &result);
  } else if (op == "-") {
    overflow = __builtin_sub_overflow(a, b, &result);
  } else if (op == "*") {
    overflow = __builtin_mul_overflow(a, b, &result);
  } else if (op == "**") {
    return integer_power(a, b);
  } else {
    return integer_division(op == "%", a, b);
  }
  if (overflow) return out_of_range();
  return Value::integer(result);
}

Result<Value> reals(std::string_view op, double a, double b) {
  if (op == "+") return Value::real(a + b);
  if (op == "-") return Value::real(a - b);
  if (op == "*") return Value::real(a * b);
  if (op == "/") return Value::real(a / b);
  if (op == "**") return Value::real(std::pow(a, b));
  if (op == "//") return Value::real(std::floor(a / b));
  const double rest = std::fmod(a, b);
  return Value::real(rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest);
}

Result<Value> numbers(std::string_view op, const Value& a, const Value& b) {
  const bool divides = op == "/" || op == "//" || op == "%";
  const bool inverts = op == "**" && a.as_real() == 0 && b.as_real() < 0;
  if ((divides && b.as_real() == 0) || inverts) return template_error("cannot divide by zero");
  if (a.is_whole() && b.is_whole() && op != "/")
    return integers(op, a.as_integer(), b.as_integer());
  return reals(op, a.as_real(), b.as_real());
}

Result<Value> repeat(Meter& meter, const Value& sequence, int64_t times) {
  times = std::max<int64_t>(times, 0);
  if (sequence.is_string()) {
    TextBuilder out(meter);
    if (sequence.as_text().empty()) times = 0;
    for (int64_t i = 0; i < times; ++i) {
      LM_TRY(meter.step());
      LM_TRY(out.append(sequence.as_text()));
    }
    return out.finish();
  }
  std::vector<Value> items;
  if (sequence.items().empty()) times = 0;
  for (int64_t i = 0; i < times; ++i) {
    LM_TRY(meter.memory(sequence.items().size() * sizeof(Value)));
    items.insert(items.end(), sequence.items().begin(), sequence.items().end());
  }
  return make_list(meter, std::move(items), sequence.is_tuple());
}

Result<Value> add(Meter& meter, const Value& a, const Value& b) {
  if (a.is_string()) {
    TextBuilder out(meter);
    LM_TRY(out.append(a.as_text()));
    LM_TRY(out.append(b.as_text()));
    return out.finish();
  }
  LM_TRY(meter.memory((a.items().size() + b.items().size()) * sizeof(Value)));
  std::vector<Value> items = a.items();
  items.insert(items.end(), b.items().begin(), b.items().end());
  return make_list(meter, std::move(items), a.is_tuple());
}

bool is_sequence(const Value& value) {
  return value.is_string() || value.is(Kind::list);
}

}  // namespace

Result<Value> arithmetic(Context& context, std::string_view op, const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) return numbers(op, a, b);
  if (op == "+" && is_sequence(a) && a.kind() == b.kind() && a.is_tuple() == b.is_tuple()) {
    return add(context.meter, a, b);
  }
  if (op == "*" && is_sequence(a) && b.is_whole()) return repeat(context.meter, a, b.as_integer());
  if (op == "*" && a.is_whole() && is_sequence(b)) return repeat(context.meter, b, a.as_integer());
  if (op == "%" && a.is_string()) return format_percent(context, a.as_text(), b);
  return mismatch(op, a, b);
}

}  // namespace lm::jinja
