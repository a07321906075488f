// engine/cli/man_page.h — llm(1), made from the definitions of the options.
#pragma once
#include <string>
#include <vector>

#include "engine/cli/catalogue.h"

namespace lm::cli {

// roff, in the macros of man(7).
std::string man_page(const std::vector<CommandSpec>& commands);

}  // namespace lm::cli
