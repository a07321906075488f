// engine/tools/logits.h — the scores after every position of a sequence: what models are compared
// by.
#pragma once
#include <functional>
#include <span>

#include "engine/core/result.h"
#include "engine/core/token.h"
#include "engine/runtime/instance.h"

namespace lm {

// Runs `ids` as one sequence and hands over the logits [n_vocab] after each of them, in order. The
// rows are gone when `row` returns; it stops the run with an Error of its own. A step takes as many
// tokens as the instance gives logits for (InstanceOptions::max_step_logits).
// bad_request for an id outside the vocabulary, context_full when they do not fit.
Status all_logits(Instance& instance, std::span<const TokenId> ids,
                  const std::function<Status(std::span<const float> logits)>& row);

}  // namespace lm
