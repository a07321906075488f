#include "engine/runtime/instance_options.h"

#include <limits>
#include <string_view>

#include "engine/core/text.h"

namespace lm {
namespace {

constexpr int kMaxSeqs = 4096, kMaxStepTokens = 1 << 16;

Status check_range(std::string_view name, int value, int least, int most) {
  if (value >= least && value <= most) return ok();
  return Error{ErrorCode::bad_request,
               concat("expected ", name, " from ", least, " to ", most, ", found ", value)};
}

}  // namespace

Status check_options(const InstanceOptions& options) {
  const int unbounded = std::numeric_limits<int>::max();
  LM_TRY(check_range("a context length", options.n_ctx, 0, unbounded));
  LM_TRY(check_range("a number of sequences", options.max_seqs, 1, kMaxSeqs));
  LM_TRY(check_range("a number of tokens in a step", options.max_step_tokens, 1, kMaxStepTokens));
  LM_TRY(check_range("a number of logits in a step", options.max_step_logits, 0, kMaxStepTokens));
  LM_TRY(check_range("a number of drafted tokens", options.draft_rows, 0, kMaxStepTokens));
  return ok();
}

}  // namespace lm
