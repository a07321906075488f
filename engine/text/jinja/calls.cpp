// Calls: of macros, of the functions that every template has, and of loops.
#include <algorithm>

#include "engine/core/text.h"
#include "engine/text/jinja/evaluation.h"

namespace lm::jinja {
namespace {

constexpr int64_t kMaxRange = 100'000;  // items, as Jinja's sandbox has it

}  // namespace

Result<Value> Interpreter::call(const Expression& node, const ScopePtr& scope) {
  const Value callee = LM_TRY(evaluate(*node.children[0], scope));
  const CallArguments given = LM_TRY(arguments(node, scope));
  return call(callee, given);
}

Result<Value> Interpreter::call(const Value& callee, const CallArguments& given) {
  if (callee.is(Kind::loop)) {
    Loop& state = *callee.as_loop();
    if (state.statement == nullptr) return template_error("expected a recursive loop to call");
    const Bound bound = LM_TRY(bind("loop", given, {"iterable"}, 1));
    TextBuilder text(meter_);
    TextBuilder* const outside = std::exchange(out_, &text);
    const Status status = loop_over(*state.statement, state.scope, *bound[0], state.level + 1);
    out_ = outside;
    if (!status.ok()) return status.error();
    return text.finish();
  }
  if (callee.is_undefined()) return template_error(std::string(callee.reason()));
  if (!callee.is(Kind::function)) {
    return template_error(concat("expected a function to call, found ", kind_name(callee)));
  }
  const Function& function = callee.as_function();
  if (function.macro != nullptr) return call_macro(*function.macro, given);
  if (function.self.is(Kind::loop)) {
    return call_loop_method(*function.self.as_loop(), function.name, given);
  }
  if (function.self.is_undefined()) return call_global(function.name, given);
  return call_method(context_, function.self, function.name, given);
}

Result<Value> Interpreter::call_macro(const Macro& macro, const CallArguments& given) {
  const Deeper deeper(*this);
  LM_TRY(deeper.check());
  auto scope = std::make_shared<Scope>(macro.scope);
  LM_TRY(bind_macro(macro, given, scope));
  return capture(macro.statement->bodies[0], scope);
}

Status Interpreter::bind_macro(const Macro& macro, const CallArguments& given,
                               const ScopePtr& scope) {
  const Statement& statement = *macro.statement;
  for (size_t i = 0; i < statement.parameters.size(); ++i) {
    const Parameter& parameter = statement.parameters[i];
    const auto named = std::find_if(given.named.begin(), given.named.end(), [&](const auto& entry) {
      return entry.first == parameter.name;
    });
    if (i < given.positional.size()) {
      scope->set(meter_, parameter.name, given.positional[i]);
    } else if (named != given.named.end()) {
      scope->set(meter_, parameter.name, named->second);
    } else if (parameter.preset) {
      scope->set(meter_, parameter.name, LM_TRY(evaluate(*parameter.preset, scope)));
    } else {
      scope->set(meter_, parameter.name,
                 Value::undefined(concat("parameter \"", parameter.name, "\" was not given")));
    }
  }
  return bind_rest(statement, given, *scope);
}

// What no parameter takes: varargs, kwargs and the caller of a call block.
Status Interpreter::bind_rest(const Statement& statement, const CallArguments& given,
                              Scope& scope) {
  const size_t n = statement.parameters.size();
  if (given.positional.size() > n && !statement.takes_rest) {
    return template_error(concat("expected at most ", n, " arguments for \"", statement.name,
                                 "\", found ", given.positional.size()));
  }
  std::vector<Value> rest;
  for (size_t i = n; i < given.positional.size(); ++i) rest.push_back(given.positional[i]);
  std::vector<std::pair<Value, Value>> keywords;
  for (const auto& entry : given.named) {
    const auto& name = entry.first;
    const auto& value = entry.second;
    const bool known = std::any_of(statement.parameters.begin(), statement.parameters.end(),
                                   [&](const Parameter& p) { return p.name == name; });
    if (known) continue;
    if (name == "caller") {
      scope.set(meter_, name, value);
    } else if (statement.takes_keywords) {
      LM_TRY(put(meter_, keywords, Value::text(name), value));
    } else {
      return template_error(
          concat("\"", statement.name, "\" has no parameter \"", printable(name, 60), "\""));
    }
  }
  if (statement.takes_rest)
    scope.set(meter_, "varargs", LM_TRY(make_list(meter_, std::move(rest), true)));
  if (statement.takes_keywords) {
    scope.set(meter_, "kwargs", LM_TRY(make_dict(meter_, std::move(keywords))));
  }
  return ok();
}

Result<Value> Interpreter::call_global(std::string_view name, const CallArguments& given) {
  if (name == "range") return range(given);
  if (name == "namespace") return make_namespace(given);
  if (name == "dict") {
    std::vector<std::pair<Value, Value>> entries;
    if (!given.positional.empty()) {
      if (!given.positional[0].is(Kind::dict))
        return template_error("expected a dictionary to copy");
      entries = given.positional[0].as_dict().entries;
    }
    for (const auto& [key, value] : given.named) {
      LM_TRY(put(meter_, entries, Value::text(key), value));
    }
    return make_dict(meter_, std::move(entries));
  }
  if (name == "strftime_now") {
    const Bound bound = LM_TRY(bind(name, given, {"format"}, 1));
    const Text format = LM_TRY(text_or(meter_, bound[0], ""));
    LM_TRY(meter_.memory(format.size() * 16));
    return Value::text(format_time(context_.now, format.bytes()));
  }
  const Bound bound = LM_TRY(bind(name, given, {"message"}, 1));
  const Text message = LM_TRY(text_or(meter_, bound[0], ""));
  return Error{ErrorCode::bad_request,
               concat("the chat template refuses: ", printable(message.bytes(), 500))};
}

Result<Value> Interpreter::range(const CallArguments& given) {
  const Bound bound = LM_TRY(bind("range", given, {"start", "stop", "step"}, 1));
  int64_t from = LM_TRY(integer_or(bound[0], 0)), to = LM_TRY(integer_or(bound[1], 0));
  const int64_t step = LM_TRY(integer_or(bound[2], 1));
  if (!bound[1]) to = std::exchange(from, 0);
  if (step == 0) return template_error("expected a step of range that is not 0");
  std::vector<Value> items;
  for (int64_t i = from; step > 0 ? i < to : i > to;) {
    if (int64_t(items.size()) == kMaxRange) {
      return template_error(concat("expected a range of at most ", kMaxRange, " items"));
    }
    items.push_back(Value::integer(i));
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return make_list(meter_, std::move(items));
}

Result<Value> Interpreter::make_namespace(const CallArguments& given) {
  LM_TRY(meter_.memory(sizeof(Namespace) + given.named.size() * sizeof(Value)));
  namespaces_.push_back(std::make_unique<Namespace>());
  auto& attributes = namespaces_.back()->attributes;
  if (!given.positional.empty()) {
    if (!given.positional[0].is(Kind::dict)) {
      return template_error("expected a dictionary to make a namespace of");
    }
    for (const auto& [key, value] : given.positional[0].as_dict().entries) {
      if (!key.is_string()) return template_error("expected names as keys of a namespace");
      LM_TRY(meter_.memory(key.bytes().size()));
      attributes.emplace_back(std::string(key.bytes()), value);
    }
  }
  for (const auto& [name, value] : given.named) attributes.emplace_back(name, value);
  return Value::of(namespaces_.back().get());
}

Result<Value> Interpreter::loop_attribute(const std::shared_ptr<Loop>& loop,
                                          std::string_view name) {
  const auto index = int64_t(loop->index);
  const auto size = int64_t(loop->items.size());
  if (name == "index") return Value::integer(index + 1);
  if (name == "index0") return Value::integer(index);
  if (name == "revindex") return Value::integer(size - index);
  if (name == "revindex0") return Value::integer(size - index - 1);
  if (name == "first") return Value::boolean(index == 0);
  if (name == "last") return Value::boolean(index + 1 >= size);
  if (name == "length") return Value::integer(size);
  if (name == "depth") return Value::integer(loop->level + 1);
  if (name == "depth0") return Value::integer(loop->level);
  if (name == "previtem") {
    if (index == 0) return Value::undefined("there is no previous item");
    return loop->items[size_t(index - 1)];
  }
  if (name == "nextitem") {
    if (index + 1 >= size) return Value::undefined("there is no next item");
    return loop->items[size_t(index + 1)];
  }
  if (name == "cycle" || name == "changed") {
    return Value::of(
        std::make_shared<const Function>(Function{std::string(name), Value::of(loop)}));
  }
  return Value::undefined(concat("a loop has no \"", printable(name, 60), "\""));
}

Result<Value> Interpreter::call_loop_method(Loop& loop, std::string_view name,
                                            const CallArguments& given) {
  if (name == "cycle") {
    if (given.positional.empty()) return template_error("expected items to cycle through");
    return given.positional[loop.index % given.positional.size()];
  }
  TextBuilder text(meter_);
  LM_TRY(print(text, meter_, LM_TRY(make_list(meter_, given.positional))));
  const bool same = loop.changed_seen && loop.changed == text.text().bytes();
  loop.changed = text.text().bytes();
  loop.changed_seen = true;
  return Value::boolean(!same);
}

}  // namespace lm::jinja
