// engine/cli/statistics.h — what an answer cost, in a line for people.
#pragma once
#include <string>

#include "engine/runtime/request.h"

namespace lm::cli {

// With a newline. load_seconds: 0 when nothing was loaded for it.
std::string statistics_line(const Timings& timings, double load_seconds = 0);

}  // namespace lm::cli
