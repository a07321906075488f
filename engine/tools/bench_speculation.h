// engine/tools/bench_speculation.h — what drafts bring: the same answers with and without them, in
// turns, on work where they should help and on work where they must not hurt.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "backends/registry.h"
#include "engine/core/json.h"
#include "engine/core/result.h"
#include "engine/tools/bench.h"

namespace lm {

struct SpeculationResult {
  std::string test;   // "edit", "prose": drafts from the text; "good draft", "bad draft": a model's
  double wanted = 0;  // ratio at least
  double plain = 0, drafted = 0;  // tokens a second, medians
  double ratio = 0;               // the median of drafted over plain, one answer after the other
  int drafted_tokens = 0, accepted_tokens = 0, generated_tokens = 0;
};

// Answers of options.generations[0] tokens, options.repetitions of each kind. error when an answer
// with drafts is another than without.
Result<std::vector<SpeculationResult>> run_speculation_bench(
    const Registry& registry, const BenchOptions& options,
    const std::function<void(const SpeculationResult&)>& on_result);

Json speculation_json(const std::vector<SpeculationResult>& results);

}  // namespace lm
