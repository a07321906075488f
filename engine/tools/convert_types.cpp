#include "engine/tools/convert_types.h"

#include <algorithm>
#include <cmath>

#include "engine/core/text.h"
#include "quant/encode.h"

namespace lm::hf {
namespace {

// Small tensors that steer the large ones stay exact.
bool is_always_f32(const PlannedTensor& tensor) {
  return tensor.dims.size() == 1 || tensor.name.ends_with(".bias") ||
         tensor.name.ends_with("ffn_gate_inp.weight");
}

bool divides(DType type, int64_t cols) {
  return cols % dtype_info(type).block_elems == 0;
}

// All slices of a tensor together.
struct Integers {
  IntMatrixRange range;
  int64_t run = 128;          // see uniform_run()
  std::optional<DType> type;  // holds every slice's integers
};

Result<Integers> judge(const PlannedTensor& tensor, bool standard_only) {
  const TensorSource& source = tensor.source;
  Integers all;
  int bits = 0;
  for (size_t i = 0; i < source.ints.size(); ++i) {
    const IntMatrix& m = source.ints[i];
    const IntMatrixRange range = range_of(m);
    if (!range.scales_finite) {
      return Error{ErrorCode::bad_file,
                   concat(tensor.name, ": expected finite scales, found one that is not")};
    }
    all.run = std::min(all.run, uniform_run(m, source.col_order(i)));
    all.range.scales_exact_in_f16 &= range.scales_exact_in_f16;
    all.range.scales_below_f16_max &= range.scales_below_f16_max;
    all.range.least_zero = std::min(all.range.least_zero, range.least_zero);
    all.range.greatest_zero = std::max(all.range.greatest_zero, range.greatest_zero);
    bits = std::max(bits, m.bits());
  }
  all.type = exact_type(bits, all.range, all.run, standard_only);
  return all;
}

// Holds 8-bit floats times their scales nearly, whatever the scales are.
DType type_of_fp8(const TensorSource& source) {
  constexpr float kMaxE4m3 = 448, kMaxHalf = 65504;
  for (const Fp8Matrix& m : source.fp8) {
    if (m.e5m2 || !(m.greatest_scale() * kMaxE4m3 <= kMaxHalf)) return DType::bf16;
  }
  return DType::f16;
}

class Chooser {
 public:
  explicit Chooser(const TypeRequest& request) : request_(request) {}

  Status choose(PlannedTensor& tensor, bool is_output);
  size_t n_fallbacks() const { return n_fallbacks_; }

 private:
  void set(PlannedTensor& tensor, DType type) const;
  Status choose_integers(PlannedTensor& tensor, std::optional<DType> wanted);

  const TypeRequest& request_;
  size_t n_fallbacks_ = 0;
};

void Chooser::set(PlannedTensor& tensor, DType type) const {
  const TensorSource& source = tensor.source;
  const bool same = source.plain() && source.stored == type && source.add == 0;
  tensor.type = type;
  tensor.recoding = same && source.col_orders.empty() ? Recoding::as_stored : Recoding::numbers;
}

Status Chooser::choose_integers(PlannedTensor& tensor, std::optional<DType> wanted) {
  const Integers all = LM_TRY(judge(tensor, request_.standard_only));
  const bool exact = all.type && all.range.scales_exact_in_f16;
  if (wanted && !(exact && *wanted == *all.type)) {
    set(tensor, *wanted);
  } else if (exact || (all.type && all.range.scales_below_f16_max && !request_.exact)) {
    tensor.type = *all.type;
    tensor.recoding = Recoding::integers;
  } else if (request_.exact || !all.range.scales_below_f16_max) {
    set(tensor, DType::f32);
  } else {
    set(tensor, divides(DType::q8_0, tensor.source.cols) ? DType::q8_0 : DType::f16);
  }
  return ok();
}

Status Chooser::choose(PlannedTensor& tensor, bool is_output) {
  const TensorSource& source = tensor.source;
  if (!tensor.from_folder()) {
    tensor.type = tensor.computed.empty() ? DType::i32 : DType::f32;
    return ok();
  }
  if (is_always_f32(tensor)) {
    set(tensor, DType::f32);
    return ok();
  }
  std::optional<DType> wanted = is_output && request_.output ? request_.output : request_.type;
  if (wanted && !divides(*wanted, source.cols)) {
    ++n_fallbacks_;
    wanted =
        wanted == request_.output && divides(DType::q8_0, source.cols) ? DType::q8_0 : DType::f16;
  }
  if (!source.ints.empty()) return choose_integers(tensor, wanted);
  if (!source.fp8.empty()) {
    set(tensor, wanted ? *wanted : request_.exact ? DType::f32 : type_of_fp8(source));
  } else {
    set(tensor, wanted.value_or(source.stored));
  }
  return ok();
}

}  // namespace

Status choose_types(const TypeRequest& request, std::vector<PlannedTensor>& tensors,
                    std::vector<std::string>& notes) {
  const bool tied = std::ranges::none_of(
      tensors, [](const PlannedTensor& tensor) { return tensor.name == "output.weight"; });
  Chooser chooser(request);
  for (PlannedTensor& tensor : tensors) {
    LM_TRY(chooser.choose(tensor, tensor.name == (tied ? "token_embd.weight" : "output.weight")));
  }
  if (chooser.n_fallbacks() > 0) {
    const DType wanted = request.type ? *request.type : *request.output;
    notes.push_back(concat(chooser.n_fallbacks(), " tensors whose rows are not whole blocks of ",
                           dtype_name(wanted), " are ", request.type ? "f16" : "q8_0 or f16"));
  }
  return ok();
}

bool exact_by_construction(const PlannedTensor& tensor) {
  if (!tensor.from_folder() || tensor.recoding == Recoding::as_stored) return true;
  if (tensor.type == DType::f32) return true;
  if (tensor.recoding != Recoding::integers) return false;
  return std::ranges::all_of(tensor.source.ints,
                             [](const IntMatrix& m) { return range_of(m).scales_exact_in_f16; });
}

}  // namespace lm::hf
