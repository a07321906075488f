#include "engine/runtime/memory_plan.h"

#include <algorithm>
#include <iomanip>
#include <limits>
#include <sstream>
#include <string>

#include "engine/core/text.h"

namespace lm {
namespace {

std::string mib(uint64_t bytes) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(1) << double(bytes) / (1 << 20) << " MiB";
  return std::move(out).str();
}

Error no_memory(std::string message) {
  return {ErrorCode::out_of_memory, std::move(message)};
}

}  // namespace

Result<MemoryPlan> plan_memory(const MemoryWish& wish) {
  const bool fits = wish.weight_bytes <= wish.memory_bytes;
  if (!fits && !wish.weights_may_stay) {
    return no_memory(concat("the weights need ", mib(wish.weight_bytes), " of memory, ",
                            mib(wish.memory_bytes), " are available"));
  }
  const uint64_t left = fits ? wish.memory_bytes - wish.weight_bytes : wish.memory_bytes / 2;
  if (wish.kv_budget > left) {
    return no_memory(concat("a KV budget of ", mib(wish.kv_budget), " was asked for, ", mib(left),
                            " are available beside the weights"));
  }
  const uint64_t unstated = wish.n_ctx > 0 ? left : left / 2;
  const uint64_t budget = wish.kv_budget > 0 ? wish.kv_budget : unstated;
  // Slots are i32: block * block_size + offset.
  const uint64_t most_blocks = uint64_t(std::numeric_limits<int32_t>::max() / wish.block_size);
  const uint64_t affordable =
      std::min(most_blocks, wish.block_bytes > 0 ? budget / wish.block_bytes : most_blocks);

  const uint64_t block_size = uint64_t(wish.block_size);
  const uint64_t trained = uint64_t(std::max(wish.n_ctx_train, 1));
  const uint64_t n_ctx =
      wish.n_ctx > 0 ? uint64_t(wish.n_ctx) : std::min(trained, affordable * block_size);
  const uint64_t blocks = (n_ctx + block_size - 1) / block_size;
  if (blocks > affordable || n_ctx == 0) {
    const uint64_t at_least = std::max<uint64_t>(blocks, 1);
    const bool countable = at_least <= std::numeric_limits<uint64_t>::max() / wish.block_bytes;
    return no_memory(concat("a context of ", std::max<uint64_t>(n_ctx, 1), " tokens needs ",
                            countable ? mib(at_least * wish.block_bytes) : "more than any memory",
                            " for its KV cache, ", mib(budget), " are available for it"));
  }
  const uint64_t shared = blocks * uint64_t(wish.max_seqs);
  return MemoryPlan{
      .n_ctx = int(n_ctx), .weights_stay = !fits, .n_blocks = int(std::min(shared, affordable))};
}

}  // namespace lm
