// engine/cli/statistics.h — what an answer cost, or many together, in a line for people.
#pragma once
#include <cstdint>
#include <string>

#include "engine/runtime/engine.h"
#include "engine/runtime/request.h"

namespace lm::cli {

// Of the answer, after its first token: that one ends the reading of the prompt.
double tokens_per_second(const Timings& t);

// With a newline. load_seconds: 0 when nothing was loaded for it.
std::string statistics_line(const Timings& timings, double load_seconds = 0);

// The same of all answers to so many lines, which took so long.
std::string statistics_line(const EngineTotals& totals, uint64_t n_lines, double seconds);

// ", of them 5 drafted (7 were tried)"; empty where none were tried.
std::string drafts_text(uint64_t accepted, uint64_t drafted);

// After an answer whose context was shifted.
void warn_of_shift(const Timings& timings);

}  // namespace lm::cli
