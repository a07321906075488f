// engine/cli/eval_text.h — an evaluation as JSON, and as lines for people.
#pragma once
#include <string>

#include "engine/core/json.h"
#include "engine/tools/eval.h"

namespace lm::cli {

Json eval_json(const EvalReport& report);
std::string eval_text(const EvalReport& report);

}  // namespace lm::cli
