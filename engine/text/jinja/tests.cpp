// The tests behind "is".
#include <algorithm>

#include "engine/core/text.h"
#include "engine/text/jinja/library.h"

namespace lm::jinja {
namespace {

using Test = Result<bool> (*)(Context&, const Value&, const CallArguments&);

template <bool (*kIs)(const Value&)>
Result<bool> plain(Context&, const Value& value, const CallArguments& arguments) {
  LM_TRY(bind("a test", arguments, {}));
  return kIs(value);
}

Result<Value> other(const CallArguments& arguments) {
  return *LM_TRY(bind("a test", arguments, {"other"}, 1))[0];
}

bool is_defined(const Value& v) {
  return !v.is_undefined();
}
bool is_undefined(const Value& v) {
  return v.is_undefined();
}
bool is_none(const Value& v) {
  return v.is(Kind::none);
}
bool is_boolean(const Value& v) {
  return v.is(Kind::boolean);
}
bool is_true(const Value& v) {
  return v.is(Kind::boolean) && v.truth();
}
bool is_false(const Value& v) {
  return v.is(Kind::boolean) && !v.truth();
}
bool is_integer(const Value& v) {
  return v.is(Kind::integer);
}
bool is_float(const Value& v) {
  return v.is(Kind::real);
}
bool is_number(const Value& v) {
  return v.is_number();
}
bool is_string(const Value& v) {
  return v.is_string();
}
bool is_mapping(const Value& v) {
  return v.is(Kind::dict);
}
bool is_sequence(const Value& v) {
  return v.is_string() || v.is(Kind::list) || v.is(Kind::dict) || v.is_undefined();
}
bool is_iterable(const Value& v) {
  return is_sequence(v) || v.is(Kind::loop);
}
bool is_callable(const Value& v) {
  return v.is(Kind::function) || v.is(Kind::loop) || v.is_undefined();
}
bool is_escaped(const Value&) {
  return false;
}

template <bool kUpper>
Result<bool> has_case(Context& context, const Value& value, const CallArguments& arguments) {
  const Text text = LM_TRY(to_text(context.meter, value));
  const std::string_view method = kUpper ? "isupper" : "islower";
  return LM_TRY(call_string_method(context, text, method, arguments)).truth();
}

Result<bool> is_equal(Context& context, const Value& value, const CallArguments& arguments) {
  return equal(context.meter, value, LM_TRY(other(arguments)));
}
Result<bool> is_unequal(Context& context, const Value& value, const CallArguments& arguments) {
  return !LM_TRY(is_equal(context, value, arguments));
}
Result<bool> is_less(Context& context, const Value& value, const CallArguments& arguments) {
  return less(context.meter, value, LM_TRY(other(arguments)));
}
Result<bool> is_greater(Context& context, const Value& value, const CallArguments& arguments) {
  return less(context.meter, LM_TRY(other(arguments)), value);
}
Result<bool> is_at_most(Context& context, const Value& value, const CallArguments& arguments) {
  return LM_TRY(is_less(context, value, arguments)) || LM_TRY(is_equal(context, value, arguments));
}
Result<bool> is_at_least(Context& context, const Value& value, const CallArguments& arguments) {
  return LM_TRY(is_greater(context, value, arguments)) ||
         LM_TRY(is_equal(context, value, arguments));
}
Result<bool> is_in(Context& context, const Value& value, const CallArguments& arguments) {
  return contains(context.meter, LM_TRY(other(arguments)), value);
}
Result<bool> is_same(Context&, const Value& value, const CallArguments& arguments) {
  return value.same_object(LM_TRY(other(arguments)));
}

Result<bool> remainder_is(Context& context, const Value& value, int64_t divisor, int64_t wanted) {
  const Value rest = LM_TRY(arithmetic(context, "%", value, Value::integer(divisor)));
  return equal(context.meter, rest, Value::integer(wanted));
}
Result<bool> is_divisible(Context& context, const Value& value, const CallArguments& arguments) {
  return remainder_is(context, value, LM_TRY(integer_or(LM_TRY(other(arguments)), 1)), 0);
}
Result<bool> is_even(Context& context, const Value& value, const CallArguments&) {
  return remainder_is(context, value, 2, 0);
}
Result<bool> is_odd(Context& context, const Value& value, const CallArguments&) {
  return remainder_is(context, value, 2, 1);
}

Result<bool> is_filter(Context&, const Value& value, const CallArguments&) {
  return value.is_string() && has_filter(value.bytes());
}
Result<bool> is_test(Context&, const Value& value, const CallArguments&) {
  return value.is_string() && has_test(value.bytes());
}

constexpr Named<Test> kTests[] = {
    {"!=", is_unequal},
    {"<", is_less},
    {"<=", is_at_most},
    {"==", is_equal},
    {">", is_greater},
    {">=", is_at_least},
    {"boolean", plain<is_boolean>},
    {"callable", plain<is_callable>},
    {"defined", plain<is_defined>},
    {"divisibleby", is_divisible},
    {"eq", is_equal},
    {"equalto", is_equal},
    {"escaped", plain<is_escaped>},
    {"even", is_even},
    {"false", plain<is_false>},
    {"filter", is_filter},
    {"float", plain<is_float>},
    {"ge", is_at_least},
    {"greaterthan", is_greater},
    {"gt", is_greater},
    {"in", is_in},
    {"integer", plain<is_integer>},
    {"iterable", plain<is_iterable>},
    {"le", is_at_most},
    {"lessthan", is_less},
    {"lower", has_case<false>},
    {"lt", is_less},
    {"mapping", plain<is_mapping>},
    {"ne", is_unequal},
    {"none", plain<is_none>},
    {"number", plain<is_number>},
    {"odd", is_odd},
    {"sameas", is_same},
    {"sequence", plain<is_sequence>},
    {"string", plain<is_string>},
    {"test", is_test},
    {"true", plain<is_true>},
    {"undefined", plain<is_undefined>},
    {"upper", has_case<true>},
};

const Named<Test>* find_test(std::string_view name) {
  const auto* found = std::find_if(std::begin(kTests), std::end(kTests),
                                   [&](const Named<Test>& test) { return test.name == name; });
  return found == std::end(kTests) ? nullptr : found;
}

}  // namespace

bool has_test(std::string_view name) {
  return find_test(name) != nullptr;
}

Result<bool> apply_test(Context& context, std::string_view name, const Value& value,
                        const CallArguments& arguments) {
  const Named<Test>* test = find_test(name);
  if (test == nullptr) {
    return template_error(concat("expected a test, found \"", printable(name, 60), "\""));
  }
  return test->entry(context, value, arguments);
}

}  // namespace lm::jinja
