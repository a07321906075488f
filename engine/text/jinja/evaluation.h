// engine/text/jinja/evaluation.h — one run of a template: statements (statements.cpp), expressions
// (expressions.cpp) and calls (calls.cpp) over scopes.
#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/text/jinja/ast.h"
#include "engine/text/jinja/library.h"
#include "engine/text/jinja/loop.h"

namespace lm::jinja {

class Scope {
 public:
  explicit Scope(std::shared_ptr<Scope> parent) : parent_(std::move(parent)) {}

  // nullptr: there is no such variable here or around.
  Result<const Value*> find(Meter& meter, std::string_view name) const {
    for (const Scope* scope = this; scope != nullptr; scope = scope->parent_.get()) {
      LM_TRY(meter.step(1 + scope->variables_.size() / 16));
      for (const auto& [candidate, value] : scope->variables_) {
        if (candidate == name) return &value;
      }
    }
    return static_cast<const Value*>(nullptr);
  }

  void set(Meter& meter, std::string_view name, Value value) {
    meter.owe(variables_.size() / 16);
    for (auto& [candidate, held] : variables_) {
      if (candidate != name) continue;
      held = std::move(value);
      return;
    }
    variables_.emplace_back(std::string(name), std::move(value));
  }

 private:
  std::vector<std::pair<std::string, Value>> variables_;
  std::shared_ptr<Scope> parent_;
};

// Where a macro was defined. Owned by the rendering, so that a scope may hold its own macros.
struct Macro {
  const Statement* statement;
  std::shared_ptr<Scope> scope;
};

inline constexpr int kMaxDepth = 400;  // of statements and expressions, macro calls counted
using ScopePtr = std::shared_ptr<Scope>;

class Interpreter {
 public:
  Interpreter(Meter& meter, const CalendarTime& now) : meter_(meter), context_{meter, now} {}

  Result<Text> run(const Block& block, std::vector<std::pair<std::string, Value>> variables);

 private:
  enum class Flow { on, stop, next };
  class Deeper;  // counts the depth while it lives

  Result<Flow> execute(const Block& block, const ScopePtr& scope);
  Result<Flow> execute(const Statement& statement, const ScopePtr& scope);
  Result<Flow> branch(const Statement& statement, const ScopePtr& scope);
  Result<Flow> loop(const Statement& statement, const ScopePtr& scope);
  Status loop_over(const Statement& statement, const ScopePtr& scope, const Value& over, int level);
  Status loop_body(const Statement& statement, const ScopePtr& scope, std::shared_ptr<Loop> state);
  Result<std::vector<Value>> loop_items(const Statement& statement, const ScopePtr& scope,
                                        const Value& over);
  Status assign(const Expression& target, const Value& value, Scope& scope);
  Result<Value> capture(const Block& block, const ScopePtr& scope);
  Result<Flow> with(const Statement& statement, const ScopePtr& scope);
  Value define(const Statement& statement, const ScopePtr& scope);
  Status call_block(const Statement& statement, const ScopePtr& scope);

  Result<Value> evaluate(const Expression& node, const ScopePtr& scope);
  Result<Value> evaluate_kind(const Expression& node, const ScopePtr& scope);
  Result<Value> evaluate_or_none(const ExpressionPtr& node, const ScopePtr& scope);
  Result<std::vector<Value>> evaluate_all(const std::vector<ExpressionPtr>& nodes,
                                          const ScopePtr& scope);
  Result<Value> name(const Expression& node, const ScopePtr& scope);
  Result<Value> sign(const Expression& node, const ScopePtr& scope);
  Result<Value> logic(const Expression& node, const ScopePtr& scope);
  Result<Value> compare(const Expression& node, const ScopePtr& scope);
  Result<Value> dict(const Expression& node, const ScopePtr& scope);
  Result<Value> concatenate(const Expression& node, const ScopePtr& scope);
  Result<Value> slice(const Expression& node, const ScopePtr& scope);
  Result<Value> attribute(const Expression& node, const ScopePtr& scope);
  Result<Value> filter(const Expression& node, const ScopePtr& scope);
  Result<Value> test(const Expression& node, const ScopePtr& scope);
  Result<CallArguments> arguments(const Expression& node, const ScopePtr& scope);
  Result<Value> call(const Expression& node, const ScopePtr& scope);
  Result<Value> call(const Value& callee, const CallArguments& arguments);
  Result<Value> call_macro(const Macro& macro, const CallArguments& arguments);
  Status bind_macro(const Macro& macro, const CallArguments& arguments, const ScopePtr& scope);
  Status bind_rest(const Statement& statement, const CallArguments& arguments, Scope& scope);
  Result<Value> call_global(std::string_view name, const CallArguments& arguments);
  Result<Value> range(const CallArguments& arguments);
  Result<Value> make_namespace(const CallArguments& arguments);
  Result<Value> loop_attribute(const std::shared_ptr<Loop>& loop, std::string_view name);
  Result<Value> call_loop_method(Loop& loop, std::string_view name, const CallArguments& arguments);

  Meter& meter_;
  Context context_;
  TextBuilder* out_ = nullptr;
  Value filtered_;  // what the filters of a block apply to
  int line_ = 0;
  int depth_ = 0;
  std::vector<std::unique_ptr<Namespace>> namespaces_;
  std::vector<std::unique_ptr<Macro>> macros_;
};

class Interpreter::Deeper {
 public:
  explicit Deeper(Interpreter& interpreter) : depth_(interpreter.depth_) { ++depth_; }
  ~Deeper() { --depth_; }
  Deeper(const Deeper&) = delete;
  Deeper& operator=(const Deeper&) = delete;
  Status check() const {
    if (depth_ <= kMaxDepth) return ok();
    return template_error("expected macros and blocks that end, found them too deep in each other");
  }

 private:
  int& depth_;
};

}  // namespace lm::jinja
