// engine/cli/cli.h — the command line: one function, called by main().
#pragma once

namespace lm {
class Registry;
}

namespace lm::cli {

// Runs one command and returns its exit status (see README, "Exit status").
int run(int argc, char** argv, const Registry& registry);

}  // namespace lm::cli
