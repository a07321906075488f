// engine/text/jinja/loop.h — what a template sees as `loop` inside a for loop.
#pragma once
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "engine/text/jinja/value.h"

namespace lm::jinja {

struct Statement;
class Scope;  // of the interpreter

struct Loop {
  std::vector<Value> items;
  size_t index = 0;     // of the current item, from 0
  int level = 0;        // of recursive loops, from 0
  int nesting = 1;      // 1 + the deepest item
  std::string changed;  // what loop.changed() saw last
  bool changed_seen = false;
  // For loop(...) in a recursive loop; null when it is not one, or has ended.
  const Statement* statement = nullptr;
  std::shared_ptr<Scope> scope;
};

}  // namespace lm::jinja
