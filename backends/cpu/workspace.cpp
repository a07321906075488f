#include "backends/cpu/workspace.h"

#include <algorithm>
#include <optional>

#include "engine/core/checked.h"

namespace lm::cpu {
namespace {

// Lays arrays out one after another, twice: first to learn the size, then to hand out addresses.
class Arena {
 public:
  explicit Arena(std::byte* base) : base_(base) {}

  template <class T>
  T* take(uint64_t a, uint64_t b = 1) {
    const std::optional<uint64_t> count = checked_mul(a, b);
    const std::optional<uint64_t> bytes = count ? checked_mul(*count, sizeof(T)) : std::nullopt;
    const std::optional<uint64_t> end = bytes && size_ ? checked_add(*size_, *bytes) : std::nullopt;
    T* result = base_ != nullptr ? reinterpret_cast<T*>(base_ + *size_) : nullptr;
    size_ = end ? checked_align(*end, 64) : std::nullopt;
    return result;
  }
  std::optional<uint64_t> size() const { return size_; }

 private:
  std::byte* base_;
  std::optional<uint64_t> size_ = 0;  // nullopt: past 2^64
};

void lay_out(Workspace& ws, int n_threads, Arena& arena) {
  const StepLimits& limits = ws.limits;
  const uint64_t places = uint64_t(limits.max_tokens) * uint64_t(limits.top_k);
  const uint64_t in_blocks = uint64_t(limits.max_linear_in) / 32;
  const uint64_t ff_blocks = uint64_t(limits.d_ff_expert) / 32;
  ws.activation_blocks =
      int64_t(std::max(uint64_t(limits.max_tokens) * in_blocks, places * ff_blocks));
  ws.activations = arena.take<ActBlock>(uint64_t(ws.activation_blocks));
  ws.thread_scratch = arena.take<float>(uint64_t(ws.thread_floats), uint64_t(n_threads));
  ws.shares = arena.take<WorkShare>(uint64_t(n_threads));
  ws.tiles = arena.take<QueryTile>(uint64_t(limits.max_tokens));
  ws.part_floats = kPartSegments * limits.n_heads * part_floats(limits.head_dim);
  ws.parts = arena.take<float>(uint64_t(ws.part_floats));
  ws.moe.first = arena.take<int32_t>(uint64_t(limits.n_experts) + 1);
  ws.moe.row = arena.take<int32_t>(places);
  ws.moe.place = arena.take<int32_t>(places);
  ws.moe_gate = arena.take<float>(places, uint64_t(limits.d_ff_expert));
  ws.moe_up = arena.take<float>(places, uint64_t(limits.d_ff_expert));
  ws.moe_down = arena.take<float>(places, uint64_t(limits.max_linear_out));
  ws.max_jobs = 2 * int64_t(limits.n_experts);
  ws.jobs = arena.take<MatmulJob>(uint64_t(ws.max_jobs));
}

bool in_range(const StepLimits& l) {
  constexpr int64_t kMost = int64_t{1} << 31;  // of anything: keeps the products below in 64 bits
  for (const int64_t v :
       {int64_t(l.max_tokens), int64_t(l.max_seqs), l.max_linear_in, l.max_linear_out,
        int64_t(l.n_heads), int64_t(l.n_kv_heads), int64_t(l.head_dim), int64_t(l.n_experts),
        int64_t(l.top_k), l.d_ff_expert}) {
    if (v < 0 || v > kMost) return false;
  }
  return int64_t(l.n_heads) * l.head_dim <= kMost &&
         int64_t(l.max_tokens) * std::max(l.top_k, 1) <= kMost;
}

}  // namespace

Result<Workspace> Workspace::allocate(const StepLimits& limits, int n_threads, int lanes) {
  if (!in_range(limits)) {
    return Error{ErrorCode::out_of_memory, "the model's dimensions are larger than any workspace"};
  }
  Workspace ws;
  ws.limits = limits;
  const int64_t row_floats = 2 * std::max<int64_t>(limits.head_dim, limits.n_experts);
  ws.thread_floats =
      std::max({matmul_scratch_floats(lanes), attention_scratch_floats(limits), row_floats});
  ws.thread_floats = (ws.thread_floats + 15) / 16 * 16;
  Arena measure(nullptr);
  lay_out(ws, n_threads, measure);
  if (!measure.size()) {
    return Error{ErrorCode::out_of_memory, "the model's dimensions are larger than any workspace"};
  }
  ws.pages = LM_TRY(Pages::map(*measure.size()));
  Arena arena(ws.pages.base());
  lay_out(ws, n_threads, arena);
  return ws;
}

}  // namespace lm::cpu
