// engine/text/jinja/interpreter.h — runs a parsed template over variables. Scopes are Jinja's: a
// loop's body, a macro and a with block see what is around them and keep their assignments to
// themselves; an if does not make a scope.
#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/core/result.h"
#include "engine/text/jinja/ast.h"
#include "engine/text/jinja/calendar.h"
#include "engine/text/jinja/value.h"

namespace lm::jinja {

// An Error names the line. The rendered text remembers what came from the input.
Result<Text> render(const Block& block, std::vector<std::pair<std::string, Value>> variables,
                    const CalendarTime& now, Meter& meter);

}  // namespace lm::jinja
