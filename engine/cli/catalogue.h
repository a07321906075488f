// engine/cli/catalogue.h — every command with its options, as data: what the manual page, the
// completions and the check of a configuration file go by.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "engine/cli/command.h"
#include "engine/cli/option_spec.h"

namespace lm::cli {

struct CommandSpec {
  std::string name, summary;
  std::vector<OptionSpec> options;
};

// In the order of --help; the first is also what "llm" alone means.
std::vector<std::unique_ptr<Command>> all_commands();
std::vector<CommandSpec> catalogue();

}  // namespace lm::cli
