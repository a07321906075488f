// backends/op_checks.h — what the shapes of a call must be on every device: the contracts of
// backend.h, checked. A device adds what its own memory asks for.
#pragma once
#include "backends/backend.h"

namespace lm {

void check_shapes(const Rope& op, const StepView& step);
void check_shapes(const MoeRoute& op);
void check_shapes(const MoeFfn& op);
void check_shapes(const TopCandidates& op);
void check_shapes(const DrawTokens& op);

}  // namespace lm
