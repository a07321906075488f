// engine/cli/completions.h — scripts that teach a shell to complete our command lines, made from
// the definitions of the options.
#pragma once
#include <string>
#include <vector>

#include "engine/cli/catalogue.h"

namespace lm::cli {

std::string bash_completions(const std::vector<CommandSpec>& commands);
std::string zsh_completions(const std::vector<CommandSpec>& commands);
std::string fish_completions(const std::vector<CommandSpec>& commands);

}  // namespace lm::cli
