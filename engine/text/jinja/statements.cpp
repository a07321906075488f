// Statements: what they print, and where the run goes on.
#include <algorithm>
#include <array>

#include "engine/core/text.h"
#include "engine/text/jinja/evaluation.h"
#include "engine/text/jinja/interpreter.h"

namespace lm::jinja {
namespace {

constexpr std::array<std::string_view, 5> kGlobals = {"range", "namespace", "dict",
                                                      "raise_exception", "strftime_now"};

}  // namespace

Result<Text> Interpreter::run(const Block& block,
                              std::vector<std::pair<std::string, Value>> variables) {
  auto root = std::make_shared<Scope>(nullptr);
  for (const std::string_view name : kGlobals) {
    root->set(meter_, name,
              Value::of(std::make_shared<const Function>(Function{std::string(name), {}})));
  }
  for (auto& [name, value] : variables) root->set(meter_, name, std::move(value));
  TextBuilder out(meter_);
  out_ = &out;
  Result<Flow> flow = execute(block, root);
  if (!flow.ok()) return std::move(flow).error().within(concat("line ", line_));
  return out.take();
}

Result<Interpreter::Flow> Interpreter::execute(const Block& block, const ScopePtr& scope) {
  for (const Statement& statement : block) {
    const Flow flow = LM_TRY(execute(statement, scope));
    if (flow != Flow::on) return flow;
  }
  return Flow::on;
}

Result<Interpreter::Flow> Interpreter::execute(const Statement& statement, const ScopePtr& scope) {
  const Deeper deeper(*this);
  LM_TRY(deeper.check());
  LM_TRY(meter_.step());
  line_ = statement.line;
  switch (statement.kind) {
    case Statement::Kind::data:
      LM_TRY(out_->append(statement.value.as_text()));
      break;
    case Statement::Kind::output: {
      const Value value = LM_TRY(evaluate(*statement.expression, scope));
      LM_TRY(print(*out_, meter_, value));
      break;
    }
    case Statement::Kind::branch:
      return branch(statement, scope);
    case Statement::Kind::loop:
      return loop(statement, scope);
    case Statement::Kind::assign:
      LM_TRY(assign(*statement.target, LM_TRY(evaluate(*statement.expression, scope)), *scope));
      break;
    case Statement::Kind::assign_block:
    case Statement::Kind::filter_block: {
      Value text = LM_TRY(capture(statement.bodies[0], std::make_shared<Scope>(scope)));
      if (statement.expression) {
        Value outer = std::exchange(filtered_, std::move(text));
        text = LM_TRY(evaluate(*statement.expression, scope));
        filtered_ = std::move(outer);
      }
      if (statement.kind == Statement::Kind::filter_block) {
        LM_TRY(print(*out_, meter_, text));
      } else {
        LM_TRY(assign(*statement.target, text, *scope));
      }
      break;
    }
    case Statement::Kind::macro:
      scope->set(meter_, statement.name, define(statement, scope));
      break;
    case Statement::Kind::call_block:
      LM_TRY(call_block(statement, scope));
      break;
    case Statement::Kind::scope:
      return with(statement, scope);
    case Statement::Kind::stop:
      return Flow::stop;
    case Statement::Kind::next:
      return Flow::next;
  }
  return Flow::on;
}

Result<Interpreter::Flow> Interpreter::branch(const Statement& statement, const ScopePtr& scope) {
  size_t i = 0;
  while (i < statement.conditions.size() &&
         !LM_TRY(evaluate(*statement.conditions[i], scope)).truth()) {
    ++i;
  }
  if (i == statement.bodies.size()) return Flow::on;
  return execute(statement.bodies[i], scope);
}

Result<Interpreter::Flow> Interpreter::with(const Statement& statement, const ScopePtr& scope) {
  auto inner = std::make_shared<Scope>(scope);
  for (size_t i = 0; i < statement.targets.size(); ++i) {
    const Value value = LM_TRY(evaluate(*statement.conditions[i], scope));
    LM_TRY(assign(*statement.targets[i], value, *inner));
  }
  return execute(statement.bodies[0], inner);
}

Result<Value> Interpreter::capture(const Block& block, const ScopePtr& scope) {
  TextBuilder text(meter_);
  TextBuilder* const outside = std::exchange(out_, &text);
  const Result<Flow> flow = execute(block, scope);
  out_ = outside;
  if (!flow.ok()) return flow.error();
  return text.finish();
}

Status Interpreter::assign(const Expression& target, const Value& value, Scope& scope) {
  if (target.kind == Expression::Kind::name) {
    scope.set(meter_, target.name, value);
    return ok();
  }
  if (target.kind == Expression::Kind::tuple) {
    const std::vector<Value> values = LM_TRY(iterate(meter_, value));
    if (values.size() != target.children.size()) {
      return template_error(
          concat("expected ", target.children.size(), " values to assign, found ", values.size()));
    }
    for (size_t i = 0; i < values.size(); ++i) {
      LM_TRY(assign(*target.children[i], values[i], scope));
    }
    return ok();
  }
  const Value* space = LM_TRY(scope.find(meter_, target.name));
  if (space == nullptr || !space->is(Kind::name_space)) {
    return template_error(concat("expected a namespace to assign to, found ",
                                 space == nullptr ? "nothing" : kind_name(*space), " in \"",
                                 target.name, "\""));
  }
  auto& attributes = space->as_namespace().attributes;
  LM_TRY(meter_.step(attributes.size() / 8));
  const std::string_view name = target.value.bytes();
  const auto held = std::find_if(attributes.begin(), attributes.end(),
                                 [&](const auto& entry) { return entry.first == name; });
  if (held != attributes.end()) {
    held->second = value;
  } else {
    attributes.emplace_back(std::string(name), value);
  }
  return ok();
}

Result<Interpreter::Flow> Interpreter::loop(const Statement& statement, const ScopePtr& scope) {
  const Value over = LM_TRY(evaluate(*statement.expression, scope));
  LM_TRY(loop_over(statement, scope, over, 0));
  return Flow::on;
}

Result<std::vector<Value>> Interpreter::loop_items(const Statement& statement,
                                                   const ScopePtr& scope, const Value& over) {
  std::vector<Value> items = LM_TRY(iterate(meter_, over));
  if (!statement.filter) return items;
  std::vector<Value> kept;
  for (const Value& item : items) {
    auto inner = std::make_shared<Scope>(scope);
    LM_TRY(assign(*statement.target, item, *inner));
    if (LM_TRY(evaluate(*statement.filter, inner)).truth()) kept.push_back(item);
  }
  return kept;
}

Status Interpreter::loop_over(const Statement& statement, const ScopePtr& scope, const Value& over,
                              int level) {
  auto state = std::make_shared<Loop>();
  state->items = LM_TRY(loop_items(statement, scope, over));
  state->level = level;
  for (const Value& item : state->items)
    state->nesting = std::max(state->nesting, item.depth() + 1);
  if (state->items.empty()) {
    if (statement.bodies.size() < 2) return ok();
    LM_TRY(execute(statement.bodies[1], std::make_shared<Scope>(scope)));
    return ok();
  }
  if (statement.recursive) {
    state->statement = &statement;
    state->scope = scope;
  }
  const Status status = loop_body(statement, scope, state);
  state->statement = nullptr;  // what keeps the loop cannot run it any more
  state->scope = nullptr;
  return status;
}

Status Interpreter::loop_body(const Statement& statement, const ScopePtr& scope,
                              std::shared_ptr<Loop> state) {
  const Value loop_value = Value::of(state);
  for (state->index = 0; state->index < state->items.size(); ++state->index) {
    auto inner = std::make_shared<Scope>(scope);
    inner->set(meter_, "loop", loop_value);
    LM_TRY(assign(*statement.target, state->items[state->index], *inner));
    if (LM_TRY(execute(statement.bodies[0], inner)) == Flow::stop) break;
  }
  return ok();
}

Value Interpreter::define(const Statement& statement, const ScopePtr& scope) {
  macros_.push_back(std::make_unique<Macro>(Macro{&statement, scope}));
  return Value::of(
      std::make_shared<const Function>(Function{statement.name, {}, macros_.back().get()}));
}

Status Interpreter::call_block(const Statement& statement, const ScopePtr& scope) {
  LM_TRY(meter_.memory(sizeof(Macro)));
  const Expression& node = *statement.expression;
  const Value callee = LM_TRY(evaluate(*node.children[0], scope));
  CallArguments given = LM_TRY(arguments(node, scope));
  given.named.emplace_back("caller", define(statement, scope));
  const Value result = LM_TRY(call(callee, given));
  return print(*out_, meter_, result);
}

Result<Text> render(const Block& block, std::vector<std::pair<std::string, Value>> variables,
                    const CalendarTime& now, Meter& meter) {
  return Interpreter(meter, now).run(block, std::move(variables));
}

}  // namespace lm::jinja
