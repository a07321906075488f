// engine/tools/bench_turns.h — what a user waits for the first token: of a long text that is new,
// of the next turn of the same conversation, and of it in a program started later.
#pragma once
#include <filesystem>

#include "backends/registry.h"
#include "engine/core/json.h"
#include "engine/core/result.h"
#include "engine/tools/bench.h"

namespace lm {

struct TurnTimes {
  int history = 0, added = 0;   // tokens
  double first = 0;             // seconds until the first token: all of it computed
  double memory = 0, disk = 0;  // the next turn's, its history from the KV cache or the disk
};

// Of `options` the model, device, threads and KV type count. The disk cache lies in a folder below
// `folder` that is removed in the end.
Result<TurnTimes> bench_turns(const Registry& registry, const BenchOptions& options, int history,
                              const std::filesystem::path& folder);

Json turns_json(const TurnTimes& times);

}  // namespace lm
