// engine/cli/batch.h — --prompts: a file of prompts, a line each, and a line of results for each,
// in their order. The scheduler runs several at once; what is read ahead is bounded, so files may
// be of any length, and a pipe is answered as it comes.
#pragma once
#include <optional>
#include <string>

#include "engine/cli/command.h"
#include "engine/cli/generation_options.h"
#include "engine/core/result.h"

namespace lm::cli {

struct BatchOptions {
  std::optional<std::string> prompts;  // a file, or "-" for stdin
  std::optional<std::string> resume;   // where the results go; nullopt: stdout
  int n_parallel = 8;

  void declare(Options& options);
};

// timings: whether results also say what depends on the machine and on what ran beside them;
// without, the same prompts and seed give the same bytes. stats: a line on stderr at the end.
// When a line could not be answered, the run goes on, and its status is `failed`.
Result<ExitStatus> run_batch(const Context& context, const GenerationOptions& generation,
                             const BatchOptions& options, bool timings, bool stats);

}  // namespace lm::cli
