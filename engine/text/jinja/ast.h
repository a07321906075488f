// engine/text/jinja/ast.h — a parsed template. One struct for expressions and one for statements:
// the comment of each kind says what its fields mean.
#pragma once
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/text/jinja/value.h"

namespace lm::jinja {

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

struct Expression {
  enum class Kind {
    constant,   // value
    name,       // name
    attribute,  // children[0] . name
    item,       // children[0] [ children[1] ]
    slice,      // children[0] [ children[1] : children[2] : children[3] ]; a missing one is null
    call,       // children[0] ( arguments )
    filter,     // children[0] | name ( arguments ); children[0] null: the text of a filter block
    test,       // children[0] is name ( arguments )
    negation,   // not children[0]
    minus,
    plus,         // - children[0]
    binary,       // children[0] name children[1], name one of + - * / // % **
    concatenate,  // children, joined by ~
    all,
    any,      // children, joined by and; by or
    compare,  // children[0] names[0] children[1] names[1] children[2] ...
    choice,   // children[0] if children[1] else children[2] (may be null)
    list,
    tuple,  // children
    dict,   // children: key, value, key, value, ...
    member  // of a namespace, to assign to: name . value
  };
  Kind kind;
  int line;
  int depth = 1;
  std::string name{};
  Value value{};
  std::vector<ExpressionPtr> children{};
  std::vector<std::string> names{};  // of compare's operators
  std::vector<ExpressionPtr> arguments{};
  std::vector<std::pair<std::string, ExpressionPtr>> keywords{};
  ExpressionPtr spread{}, keyword_spread{};  // *arguments, **keywords
};

struct Parameter {
  std::string name;
  ExpressionPtr preset;  // null: none
};

struct Statement;
using Block = std::vector<Statement>;

struct Statement {
  enum class Kind {
    data,          // value
    output,        // expression
    branch,        // conditions and bodies; one body more than conditions: else
    loop,          // for target in expression [if filter] [recursive]: bodies[0], else bodies[1]
    assign,        // target = expression
    assign_block,  // target = bodies[0] [| expression]
    macro,         // name ( parameters ): bodies[0]
    call_block,    // expression, whose caller is ( parameters ): bodies[0]
    filter_block,  // bodies[0] | expression
    scope,         // with target = conditions[i] for each i: bodies[0]
    stop,
    next  // break, continue
  };
  Kind kind;
  int line;
  Value value{};
  std::string name{};
  ExpressionPtr target{}, expression{}, filter{};
  bool recursive = false;
  std::vector<ExpressionPtr> conditions{};
  std::vector<ExpressionPtr> targets{};
  std::vector<Parameter> parameters{};
  bool takes_rest = false, takes_keywords = false;  // a macro that says varargs, kwargs
  std::vector<Block> bodies{};
};

}  // namespace lm::jinja
