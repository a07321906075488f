// engine/runtime/model_drafter.h — drafts by a smaller model with the same vocabulary. It draws as
// the target will draw: with its parameters and state, and with the same noise for each seed,
// position and token. Where the two distributions are close, so are the draws.
#pragma once
#include <memory>

#include "engine/core/result.h"
#include "engine/runtime/drafter.h"
#include "engine/runtime/instance.h"

namespace lm {

// Takes over an instance of the draft model: of its own a KV pool, and with the target, if it was
// opened so, the threads. unsupported when a token of the two vocabularies differs; what only pads
// one of them may.
Result<std::unique_ptr<Drafter>> make_model_drafter(std::unique_ptr<Instance> draft,
                                                    const Instance& target);

}  // namespace lm
