// engine/cli/settings.h — options that a person wants the same every time: what is not on the
// command line comes from the environment.
#pragma once
#include "engine/cli/options.h"
#include "engine/core/result.h"

namespace lm::cli {

// After Options::parse(). bad_request when a variable holds what the option does not take; an
// empty one counts as none.
Status read_environment(Options& options);

}  // namespace lm::cli
