// engine/cli/statistics.h — what an answer cost, in a line for people.
#pragma once
#include <string>

#include "engine/runtime/request.h"

namespace lm::cli {

// Of the answer, after its first token: that one ends the reading of the prompt.
double tokens_per_second(const Timings& t);

// With a newline. load_seconds: 0 when nothing was loaded for it.
std::string statistics_line(const Timings& timings, double load_seconds = 0);

// After an answer whose context was shifted.
void warn_of_shift(const Timings& timings);

}  // namespace lm::cli
