#include "engine/tools/group_rounding.h"

#include <algorithm>
#include <atomic>
#include <vector>

#include "engine/core/text.h"
#include "engine/tools/rewrite.h"
#include "quant/block_grid.h"
#include "quant/decode.h"

namespace lm {
namespace {

constexpr int64_t kRowsAtOnce = 256;

class GroupRounding final : public QuantizeMethod {
 public:
  GroupRounding(int bits, bool symmetric) : bits_(bits), symmetric_(symmetric) {}

  std::string_view name() const override { return "rtn"; }

  Status check(std::span<const PlannedType> plan) const override {
    return check_group_bits(plan, bits_, symmetric_);
  }

  Status fill(const QuantizeContext& context, size_t index,
              const gguf::Writer::Sink& sink) override {
    const PlannedType& planned = context.plan[index];
    const gguf::TensorInfo& from = *planned.from;
    if (!is_i4g(planned.type) || from.dtype == planned.type)
      return fill_plainly(context, index, sink);
    const GridFormat format{.type = planned.type, .bits = bits_, .symmetric = symmetric_};
    const int64_t cols = from.dims[0], rows = n_elements(from) / cols;
    const size_t in_bytes = row_bytes(from.dtype, cols), out_bytes = row_bytes(planned.type, cols);
    std::vector<std::byte> out(size_t(std::min(rows, kRowsAtOnce)) * out_bytes);
    std::vector<std::vector<float>> numbers(size_t(context.threads.size()),
                                            std::vector<float>(size_t(cols)));
    for (int64_t first = 0; first < rows; first += kRowsAtOnce) {
      if (context.stop && context.stop())
        return Error{ErrorCode::cancelled, "the quantization was stopped; nothing was written"};
      const int64_t n = std::min(kRowsAtOnce, rows - first);
      std::atomic<bool> finite = true;
      context.threads.parallel_for(n, [&](int64_t i, int thread) {
        std::vector<float>& row = numbers[size_t(thread)];
        decode(from.dtype, from.bytes.data() + size_t(first + i) * in_bytes, row.data(), cols);
        if (!all_finite(row)) finite = false;
        round_to_nearest(format, row, {}, out.data() + size_t(i) * out_bytes);
      });
      if (!finite) return not_finite(from);
      LM_TRY(sink(std::span(out).first(size_t(n) * out_bytes)));
    }
    return ok();
  }

 private:
  int bits_;
  bool symmetric_;
};

}  // namespace

Status check_group_bits(std::span<const PlannedType> plan, std::optional<int> bits,
                        bool symmetric) {
  const bool groups =
      std::ranges::any_of(plan, [](const PlannedType& planned) { return is_i4g(planned.type); });
  if (groups || (!bits && !symmetric)) return ok();
  const std::string what =
      bits ? concat(*bits, symmetric ? " symmetric bits" : " bits") : std::string("symmetric bits");
  return Error{ErrorCode::bad_request,
               concat("expected a type of groups (i4g32, i4g64 or i4g128) for ", what,
                      ", found none in the mixture")};
}

std::unique_ptr<QuantizeMethod> make_group_rounding(int bits, bool symmetric) {
  return std::make_unique<GroupRounding>(bits, symmetric);
}

}  // namespace lm
