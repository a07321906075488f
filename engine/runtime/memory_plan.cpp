#include "engine/runtime/memory_plan.h"

#include <algorithm>
#include <iomanip>
#include <limits>
#include <sstream>
#include <string>

#include "engine/core/checked.h"
#include "engine/core/text.h"
#include "engine/kv/window_pages.h"

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

constexpr uint64_t kNoNumber = std::numeric_limits<uint64_t>::max();

// What a KV cache of this wish takes, in blocks and pages.
struct KvCost {
  uint64_t block_bytes, page_bytes;
  uint64_t most_pages;   // of one sequence, however long it is
  uint64_t spare_pages;  // that stay for each sequence: two windows, where others may go on
  uint64_t most_blocks;  // slots are i32: block * block_size + offset

  explicit KvCost(const MemoryWish& wish)
      : block_bytes(wish.block_bytes),
        page_bytes(wish.page_bytes),
        most_pages(uint64_t(most_window_pages(wish.window, wish.step_tokens, wish.block_size))),
        spare_pages(2 * uint64_t(wish.window / wish.block_size + 2)),
        most_blocks(uint64_t(std::numeric_limits<int32_t>::max() / wish.block_size)) {}

  uint64_t pages_of(uint64_t blocks) const {
    return page_bytes > 0 ? std::min(blocks, most_pages) : 0;
  }
  // kNoNumber: more than any memory.
  uint64_t bytes(uint64_t blocks, uint64_t pages) const {
    const auto of_blocks = checked_mul(blocks, block_bytes),
               of_pages = checked_mul(pages, page_bytes);
    const auto sum = of_blocks && of_pages ? checked_add(*of_blocks, *of_pages) : std::nullopt;
    return sum.value_or(kNoNumber);
  }
  uint64_t sequence_bytes(uint64_t blocks) const { return bytes(blocks, pages_of(blocks)); }
  // The longest sequence that so many bytes hold.
  uint64_t affordable(uint64_t budget) const {
    const uint64_t windows = sequence_bytes(most_pages);
    if (page_bytes > 0 && windows > budget) {
      return std::min(most_blocks, budget / bytes(1, 1));
    }
    const uint64_t left = budget - bytes(0, pages_of(most_pages));
    return block_bytes > 0 ? std::min(most_blocks, left / block_bytes) : most_blocks;
  }
};

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
  const KvCost cost(wish);
  const uint64_t affordable = cost.affordable(budget);

  const uint64_t block_size = uint64_t(wish.block_size);
  const uint64_t trained = uint64_t(std::max(wish.n_ctx_train, 1));
  const uint64_t n_ctx =
      wish.n_ctx > 0 ? uint64_t(wish.n_ctx) : std::min(trained, affordable * block_size);
  const uint64_t blocks = (n_ctx + block_size - 1) / block_size;
  if (blocks > affordable || n_ctx == 0) {
    const uint64_t needed = cost.sequence_bytes(std::max<uint64_t>(blocks, 1));
    return no_memory(concat("a context of ", std::max<uint64_t>(n_ctx, 1), " tokens needs ",
                            needed == kNoNumber ? "more than any memory" : mib(needed),
                            " for its KV cache, ", mib(budget), " are available for it"));
  }
  const uint64_t n_seqs = uint64_t(wish.max_seqs), shared = blocks * n_seqs;
  const uint64_t whole = cost.sequence_bytes(blocks);
  const uint64_t beside = whole > 0 ? std::min(n_seqs, budget / whole) : n_seqs;  // at least one
  MemoryPlan plan{.n_ctx = int(n_ctx), .weights_stay = !fits};
  uint64_t pages = 0;
  if (wish.page_bytes > 0) {
    pages = std::min({beside * (cost.pages_of(blocks) + cost.spare_pages), shared,
                      (budget - cost.bytes(blocks, 0)) / wish.page_bytes});
  }
  const uint64_t for_blocks = budget - cost.bytes(0, pages);
  const uint64_t held = wish.block_bytes > 0 ? for_blocks / wish.block_bytes : cost.most_blocks;
  plan.n_blocks = int(std::min({shared, held, cost.most_blocks}));
  plan.n_pages = int(std::min(pages, uint64_t(plan.n_blocks)));
  return plan;
}

}  // namespace lm
