// engine/tools/bench_users.h — several users of one engine: what all of them get together beside
// what one gets alone, and how long they wait for their next tokens when somebody comes with a long
// prompt.
#pragma once
#include "backends/registry.h"
#include "engine/core/json.h"
#include "engine/core/result.h"
#include "engine/tools/bench.h"

namespace lm {

struct UsersResult {
  int users = 0;
  double one = 0, all = 0;  // tokens a second, medians
  double ratio = 0;         // the median of all over one, one after the other
  // While a long prompt was read beside the streams of the others. A chunk is what a forward pass
  // reads of it.
  int prompt_tokens = 0, chunks = 0;
  double chunk_seconds = 0;  // mean
  double longest_gap = 0;    // seconds between two tokens of a stream
  int most_steps = 0;        // the engine's forward passes from a token of a stream to its next
};

// Answers of options.generations[0] tokens to short prompts, options.repetitions of each kind; then
// a prompt of options.prompts[0] tokens; 0: none of these. Without drafts. An error where a stream
// ended before that prompt was read: then nothing was measured.
Result<UsersResult> bench_users(const Registry& registry, const BenchOptions& options, int users);

Json users_json(const UsersResult& result);  // of what was measured

}  // namespace lm
