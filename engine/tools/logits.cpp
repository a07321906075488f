#include "engine/tools/logits.h"

#include <algorithm>

#include "engine/core/check.h"
#include "engine/core/text.h"

namespace lm {

Status all_logits(Instance& instance, std::span<const TokenId> ids,
                  const std::function<Status(std::span<const float> logits)>& row) {
  const auto n_vocab = size_t(instance.config().n_vocab);
  if (ids.empty()) return Error{ErrorCode::bad_request, "expected token ids, found none"};
  for (const TokenId id : ids) {
    if (id < 0 || size_t(id) >= n_vocab) {
      return Error{ErrorCode::bad_request,
                   concat("expected token ids below ", n_vocab, ", found ", id)};
    }
  }
  if (ids.size() > size_t(instance.n_ctx())) {
    return Error{ErrorCode::context_full,
                 concat("expected at most ", instance.n_ctx(), " tokens, found ", ids.size())};
  }
  BlockTable table(instance.pool());
  if (!table.grow(int(ids.size()))) {
    return Error{ErrorCode::context_full,
                 concat("no room in the KV cache for ", ids.size(), " tokens")};
  }
  const auto chunk = size_t(std::min(instance.max_step_tokens(), instance.max_step_logits()));
  for (size_t first = 0; first < ids.size(); first += chunk) {
    const std::span<const TokenId> part = ids.subspan(first, std::min(chunk, ids.size() - first));
    if (!table.open_window(int(first), int(first + part.size()))) {
      return Error{ErrorCode::context_full, "no room in the KV cache for a window of the text"};
    }
    const StepRow step{part, int(first), &table, int(part.size())};
    const std::span<float> logits = LM_TRY(instance.step({&step, 1}));
    LM_CHECK(logits.size() == part.size() * n_vocab);
    for (size_t i = 0; i < part.size(); ++i) LM_TRY(row(logits.subspan(i * n_vocab, n_vocab)));
  }
  return ok();
}

}  // namespace lm
