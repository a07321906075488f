// Expressions: what they are worth.
#include <algorithm>

#include "engine/core/text.h"
#include "engine/text/jinja/evaluation.h"

namespace lm::jinja {

Result<Value> Interpreter::evaluate(const Expression& node, const ScopePtr& scope) {
  const Deeper deeper(*this);
  LM_TRY(deeper.check());
  LM_TRY(meter_.step());
  const int outside = std::exchange(line_, node.line);
  Value value = LM_TRY(evaluate_kind(node, scope));
  line_ = outside;
  return value;
}

Result<Value> Interpreter::evaluate_kind(const Expression& node, const ScopePtr& scope) {
  using Node = Expression::Kind;
  switch (node.kind) {
    case Node::constant:
      return node.value;
    case Node::name:
      return name(node, scope);
    case Node::attribute:
      return attribute(node, scope);
    case Node::item: {
      const Value value = LM_TRY(evaluate(*node.children[0], scope));
      const Value key = LM_TRY(evaluate(*node.children[1], scope));
      if (key.is_string() && (value.is(Kind::loop))) {
        return loop_attribute(value.as_loop(), key.bytes());
      }
      return get_item(context_, value, key);
    }
    case Node::slice:
      return slice(node, scope);
    case Node::call:
      return call(node, scope);
    case Node::filter:
      return filter(node, scope);
    case Node::test:
      return test(node, scope);
    case Node::negation:
      return Value::boolean(!LM_TRY(evaluate(*node.children[0], scope)).truth());
    case Node::minus:
    case Node::plus:
      return sign(node, scope);
    case Node::binary: {
      const Value a = LM_TRY(evaluate(*node.children[0], scope));
      const Value b = LM_TRY(evaluate(*node.children[1], scope));
      return arithmetic(context_, node.name, a, b);
    }
    case Node::concatenate:
      return concatenate(node, scope);
    case Node::all:
    case Node::any:
      return logic(node, scope);
    case Node::compare:
      return compare(node, scope);
    case Node::choice: {
      const bool yes = LM_TRY(evaluate(*node.children[1], scope)).truth();
      const ExpressionPtr& chosen = node.children[yes ? 0 : 2];
      if (!chosen) return Value::undefined("an if without an else gave nothing");
      return evaluate(*chosen, scope);
    }
    case Node::list:
      return make_list(meter_, LM_TRY(evaluate_all(node.children, scope)));
    case Node::tuple:
      return make_list(meter_, LM_TRY(evaluate_all(node.children, scope)), true);
    case Node::dict:
      return dict(node, scope);
    case Node::member:
      break;  // only ever assigned to
  }
  return template_error("expected an expression");
}

Result<std::vector<Value>> Interpreter::evaluate_all(const std::vector<ExpressionPtr>& nodes,
                                                     const ScopePtr& scope) {
  std::vector<Value> values;
  for (const ExpressionPtr& node : nodes) values.push_back(LM_TRY(evaluate(*node, scope)));
  return values;
}

Result<Value> Interpreter::evaluate_or_none(const ExpressionPtr& node, const ScopePtr& scope) {
  if (!node) return Value::none();
  return evaluate(*node, scope);
}

Result<Value> Interpreter::name(const Expression& node, const ScopePtr& scope) {
  const Value* value = LM_TRY(scope->find(meter_, node.name));
  if (value != nullptr) return *value;
  return Value::undefined(concat("\"", printable(node.name, 60), "\" is undefined"));
}

Result<Value> Interpreter::sign(const Expression& node, const ScopePtr& scope) {
  const Value value = LM_TRY(evaluate(*node.children[0], scope));
  const bool minus = node.kind == Expression::Kind::minus;
  if (!value.is_number()) {
    return template_error(concat("expected a number behind the sign, found ", kind_name(value)));
  }
  if (value.is(Kind::real)) return Value::real(minus ? -value.as_real() : value.as_real());
  if (!minus) return Value::integer(value.as_integer());
  return arithmetic(context_, "-", Value::integer(0), value);
}

// The last operand that had to be looked at, as Python has it.
Result<Value> Interpreter::logic(const Expression& node, const ScopePtr& scope) {
  const bool until = node.kind == Expression::Kind::any;
  for (size_t i = 0; i + 1 < node.children.size(); ++i) {
    Value value = LM_TRY(evaluate(*node.children[i], scope));
    if (value.truth() == until) return value;
  }
  return evaluate(*node.children.back(), scope);
}

Result<Value> Interpreter::compare(const Expression& node, const ScopePtr& scope) {
  Value left = LM_TRY(evaluate(*node.children[0], scope));
  for (size_t i = 0; i < node.names.size(); ++i) {
    Value right = LM_TRY(evaluate(*node.children[i + 1], scope));
    const std::string_view op = node.names[i];
    bool holds = false;
    if (op == "==" || op == "!=") {
      holds = LM_TRY(equal(meter_, left, right)) == (op == "==");
    } else if (op == "in" || op == "not in") {
      holds = LM_TRY(contains(meter_, right, left)) == (op == "in");
    } else if (op == "<") {
      holds = LM_TRY(less(meter_, left, right));
    } else if (op == ">") {
      holds = LM_TRY(less(meter_, right, left));
    } else if (op == "<=") {
      holds = LM_TRY(less(meter_, left, right)) || LM_TRY(equal(meter_, left, right));
    } else {
      holds = LM_TRY(less(meter_, right, left)) || LM_TRY(equal(meter_, left, right));
    }
    if (!holds) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

Result<Value> Interpreter::dict(const Expression& node, const ScopePtr& scope) {
  std::vector<std::pair<Value, Value>> entries;
  for (size_t i = 0; i + 1 < node.children.size(); i += 2) {
    Value key = LM_TRY(evaluate(*node.children[i], scope));
    Value value = LM_TRY(evaluate(*node.children[i + 1], scope));
    LM_TRY(put(meter_, entries, std::move(key), std::move(value)));
  }
  return make_dict(meter_, std::move(entries));
}

Result<Value> Interpreter::concatenate(const Expression& node, const ScopePtr& scope) {
  TextBuilder out(meter_);
  for (const ExpressionPtr& child : node.children) {
    const Value value = LM_TRY(evaluate(*child, scope));
    LM_TRY(print(out, meter_, value));
  }
  return out.finish();
}

Result<Value> Interpreter::slice(const Expression& node, const ScopePtr& scope) {
  const Value value = LM_TRY(evaluate(*node.children[0], scope));
  const Value from = LM_TRY(evaluate_or_none(node.children[1], scope));
  const Value to = LM_TRY(evaluate_or_none(node.children[2], scope));
  const Value step = LM_TRY(evaluate_or_none(node.children[3], scope));
  return get_slice(context_, value, from, to, step);
}

Result<Value> Interpreter::attribute(const Expression& node, const ScopePtr& scope) {
  const Value value = LM_TRY(evaluate(*node.children[0], scope));
  if (value.is(Kind::loop)) return loop_attribute(value.as_loop(), node.name);
  return get_attribute(context_, value, node.name);
}

Result<Value> Interpreter::filter(const Expression& node, const ScopePtr& scope) {
  const ExpressionPtr& child = node.children[0];
  const Value value = child ? LM_TRY(evaluate(*child, scope)) : filtered_;
  const CallArguments given = LM_TRY(arguments(node, scope));
  return apply_filter(context_, node.name, value, given);
}

Result<Value> Interpreter::test(const Expression& node, const ScopePtr& scope) {
  const Value value = LM_TRY(evaluate(*node.children[0], scope));
  const CallArguments given = LM_TRY(arguments(node, scope));
  return Value::boolean(LM_TRY(apply_test(context_, node.name, value, given)));
}

Result<CallArguments> Interpreter::arguments(const Expression& node, const ScopePtr& scope) {
  CallArguments given{LM_TRY(evaluate_all(node.arguments, scope)), {}};
  for (const auto& [keyword, expression] : node.keywords) {
    given.named.emplace_back(keyword, LM_TRY(evaluate(*expression, scope)));
  }
  if (node.spread) {
    const Value list = LM_TRY(evaluate(*node.spread, scope));
    for (Value& value : LM_TRY(iterate(meter_, list))) given.positional.push_back(std::move(value));
  }
  if (node.keyword_spread) {
    const Value more = LM_TRY(evaluate(*node.keyword_spread, scope));
    if (!more.is(Kind::dict)) return template_error("expected a dictionary after **");
    for (const auto& [key, value] : more.as_dict().entries) {
      if (!key.is_string()) return template_error("expected names as keys after **");
      LM_TRY(meter_.memory(key.bytes().size()));
      given.named.emplace_back(std::string(key.bytes()), value);
    }
  }
  return given;
}

}  // namespace lm::jinja
