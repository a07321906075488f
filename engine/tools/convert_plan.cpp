#include "engine/tools/convert_plan.h"

#include <algorithm>
#include <array>
#include <unordered_map>
#include <unordered_set>

#include "engine/core/check.h"
#include "engine/core/text.h"

namespace lm::hf {
namespace {

using safetensors::ElementType;
using Info = safetensors::TensorInfo;

// Buffers that old checkpoints carry and every program computes for itself.
constexpr std::string_view kIgnoredSuffixes[] = {".rotary_emb.inv_freq", ".rotary_emb.cos_cached",
                                                 ".rotary_emb.sin_cached"};
constexpr std::string_view kOtherTowers[] = {"vision_tower.", "multi_modal_projector.",
                                             "model.vision_tower.", "model.multi_modal_projector."};
// What quantized checkpoints keep for programs that quantize activations or the cache as well.
constexpr std::string_view kActivationSuffixes[] = {
    ".input_scale", ".input_zero_point", ".input_global_scale", ".activation_scale",
    ".k_scale",     ".v_scale",          ".output_scale"};
constexpr std::string_view kEmbedding = "model.embed_tokens.weight", kOutput = "lm_head.weight";

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (const int64_t n : shape) text += concat(text.size() > 1 ? ", " : "", n);
  return text + "]";
}

std::string with_number(std::string_view pattern, std::string_view hole, int64_t number) {
  const size_t at = pattern.find(hole);
  if (at == std::string_view::npos) return std::string(pattern);
  return concat(pattern.substr(0, at), number, pattern.substr(at + hole.size()));
}

int64_t resolve(Dim dim, const Config& c) {
  switch (dim) {
    case Dim::none:
      return 0;
    case Dim::d_model:
      return c.d_model;
    case Dim::q:
      return c.n_heads * c.head_dim;
    case Dim::kv:
      return c.n_kv_heads * c.head_dim;
    case Dim::qkv:
      return (c.n_heads + 2 * c.n_kv_heads) * c.head_dim;
    case Dim::d_ff:
      return c.d_ff;
    case Dim::gate_up:
      return 2 * c.d_ff;
    case Dim::d_ff_expert:
      return c.d_ff_expert;
    case Dim::gate_up_expert:
      return 2 * c.d_ff_expert;
    case Dim::head_dim:
      return c.head_dim;
    case Dim::n_heads:
      return c.n_heads;
    case Dim::n_experts:
      return c.n_experts;
    case Dim::n_vocab:
      return c.n_vocab;
  }
  LM_CHECK(false);
}

std::optional<DType> plain_dtype(ElementType type) {
  switch (type) {
    case ElementType::f32:
      return DType::f32;
    case ElementType::f16:
      return DType::f16;
    case ElementType::bf16:
      return DType::bf16;
    default:
      return std::nullopt;
  }
}

bool is_mxfp4(Transform t) {
  return t == Transform::mxfp4 || t == Transform::mxfp4_even || t == Transform::mxfp4_odd;
}

// GPTQ's writer adds biases of zeros to modules that have none.
bool is_zero_bias(const Info& info) {
  return info.name.ends_with(".bias") &&
         std::ranges::all_of(info.bytes, [](std::byte b) { return b == std::byte{0}; });
}

// The folder's tensors under the names that the rules use.
class Inputs {
 public:
  Status index(const Config& config, const Quantization& quantization,
               const safetensors::File& file);
  const Info* find(const std::string& name) const {
    const auto it = by_name_.find(name);
    return it == by_name_.end() ? nullptr : it->second;
  }
  const Info* use(const std::string& name) {
    const Info* info = find(name);
    if (info != nullptr) used_.insert(info);
    return info;
  }
  Status check_all_used() const;
  // A bias of zeros where the family may do without.
  bool says_nothing(const std::string& name) const {
    const Info* info = find(name);
    return quantized_ && info != nullptr && is_zero_bias(*info);
  }
  bool tied() const { return tied_; }  // by the config or by the tensors' own file
  size_t n_other_towers() const { return n_other_towers_; }
  size_t n_of_activations() const { return n_of_activations_; }

 private:
  void resolve_tied();

  std::unordered_map<std::string, const Info*> by_name_;
  std::unordered_set<const Info*> used_;
  bool tied_ = false, quantized_ = false;
  size_t n_other_towers_ = 0, n_of_activations_ = 0;
};

// "language_model.model.x" and "model.language_model.x" are "model.x" of the text model.
std::string canonical(std::string_view name, bool nested) {
  if (!nested) return std::string(name);
  constexpr std::string_view kOuter = "language_model.", kInner = "model.language_model.";
  if (name.starts_with(kOuter)) return std::string(name.substr(kOuter.size()));
  if (name.starts_with(kInner)) return concat("model.", name.substr(kInner.size()));
  return std::string(name);
}

Status Inputs::index(const Config& config, const Quantization& quantization,
                     const safetensors::File& file) {
  quantized_ = quantization.layout != Quantization::Layout::none;
  const auto any = [](std::span<const std::string_view> list, const auto& matches) {
    return std::ranges::any_of(list, matches);
  };
  for (const Info& info : file.tensors()) {
    const std::string_view name = info.name;
    if (any(kIgnoredSuffixes, [&](std::string_view s) { return name.ends_with(s); })) continue;
    if (config.family->nested &&
        any(kOtherTowers, [&](std::string_view s) { return name.starts_with(s); })) {
      ++n_other_towers_;
      continue;
    }
    if (quantized_ &&
        any(kActivationSuffixes, [&](std::string_view s) { return name.ends_with(s); })) {
      ++n_of_activations_;
      continue;
    }
    if (!by_name_.emplace(canonical(name, config.family->nested), &info).second) {
      return Error{ErrorCode::bad_file, concat("expected each tensor once, found ", printable(name),
                                               " under two names")};
    }
  }
  tied_ =
      config.tied || file.metadata(kEmbedding) == kOutput || file.metadata(kOutput) == kEmbedding;
  if (tied_) resolve_tied();
  return ok();
}

// A tied matrix may be stored under either name, or under both.
void Inputs::resolve_tied() {
  const Info* embedding = find(std::string(kEmbedding));
  const Info* output = find(std::string(kOutput));
  if (output == nullptr) return;
  if (embedding == nullptr) {
    by_name_[std::string(kEmbedding)] = output;
    by_name_.erase(std::string(kOutput));
  } else if (embedding->type == output->type &&
             std::ranges::equal(embedding->bytes, output->bytes)) {
    by_name_.erase(std::string(kOutput));
  }  // else the two differ, whatever the config says: both are kept
}

Status Inputs::check_all_used() const {
  for (const auto& [name, info] : by_name_) {
    if (used_.contains(info) || (quantized_ && is_zero_bias(*info))) continue;
    return Error{ErrorCode::unsupported,
                 concat("expected only tensors of the family that config.json names, found ",
                        printable(info->name), " ", shape_text(info->shape))};
  }
  return ok();
}

class Planner {
 public:
  Planner(const Config& config, const Quantization& quantization, Inputs& inputs)
      : config_(config), quantization_(quantization), inputs_(inputs) {}

  Result<std::vector<PlannedTensor>> plan();
  const QuantizationNotes& quantization_notes() const { return quantization_notes_; }

 private:
  Status apply(const TensorRule& rule, int64_t layer);
  Result<bool> gather(const TensorRule& rule, const std::string& from, TensorSource& source,
                      std::vector<int64_t>& dims);
  Status check_shape(const TensorRule& rule, const Info& info) const;
  Result<bool> gather_ints(const TensorRule& rule, const std::string& name, TensorSource& source,
                           std::vector<int64_t>& dims);
  Status fill_fp8(const TensorRule& rule, const Info& info, const std::string& name,
                  TensorSource& source, std::vector<int64_t>& dims);
  Status fill(const TensorRule& rule, const Info& info, TensorSource& source,
              std::vector<int64_t>& dims);
  Status fill_mxfp4(const TensorRule& rule, const Info& blocks, const std::string& from,
                    TensorSource& source, std::vector<int64_t>& dims);
  UseTensor use() {
    return [this](const std::string& name) { return inputs_.use(name); };
  }
  void add_rope_factors();

  const Config& config_;
  const Quantization& quantization_;
  Inputs& inputs_;
  QuantizationNotes quantization_notes_;
  std::vector<PlannedTensor> planned_;
  std::unordered_set<std::string> names_;
};

Status Planner::check_shape(const TensorRule& rule, const Info& info) const {
  std::vector<int64_t> expected;
  for (const Dim dim : rule.shape) {
    if (dim != Dim::none) expected.push_back(resolve(dim, config_));
  }
  if (is_mxfp4(rule.transform)) {  // [E, rows, groups, 16 bytes]
    if (expected.back() % 32 != 0) {
      return Error{ErrorCode::bad_file,
                   concat(printable(info.name), ": expected rows of whole groups of 32")};
    }
    expected.back() /= 32;
    expected.push_back(16);
  }
  if (info.shape != expected) {
    return Error{ErrorCode::bad_file,
                 concat(printable(info.name), ": expected shape ", shape_text(expected),
                        " as config.json says, found ", shape_text(info.shape))};
  }
  return ok();
}

void set_rope(const TensorRule& rule, const Config& config, TensorSource& source) {
  if (rule.transform == Transform::rope_pairs_q || rule.transform == Transform::rope_pairs_k)
    source.rope_pairs = config.head_dim;
}

// Describes one input as a strided matrix per slice.
Status Planner::fill(const TensorRule& rule, const Info& info, TensorSource& source,
                     std::vector<int64_t>& dims) {
  const std::optional<DType> stored = plain_dtype(info.type);
  if (!stored) {
    return Error{ErrorCode::unsupported,
                 concat(printable(info.name), ": expected F32, F16 or BF16, found ",
                        element_type_name(info.type))};
  }
  source.stored = *stored;
  const std::vector<int64_t>& s = info.shape;
  const size_t element = row_bytes(*stored, 1);
  const auto slice_experts = [&](int64_t elements) {
    for (int64_t e = 0; e < s[0]; ++e)
      source.slices.push_back(info.bytes.data() + size_t(e * elements) * element);
  };
  switch (rule.transform) {
    case Transform::transpose:
    case Transform::transpose_even:
    case Transform::transpose_odd: {  // [E, in, out]
      const int64_t step = rule.transform == Transform::transpose ? 1 : 2;
      source.first = rule.transform == Transform::transpose_odd ? 1 : 0;
      source.rows = s[2] / step, source.cols = s[1];
      source.row_step = step, source.col_step = s[2];
      slice_experts(s[1] * s[2]);
      dims = {source.cols, source.rows, s[0]};
      return ok();
    }
    case Transform::even:
    case Transform::odd:  // [E, n]
      source.first = rule.transform == Transform::odd ? 1 : 0;
      source.rows = s[0], source.cols = s[1] / 2;
      source.row_step = s[1], source.col_step = 2;
      break;
    default:
      source.rows = s.size() == 1 ? 1 : s[0];
      source.cols = s.back();
      source.row_step = source.cols;
  }
  source.slices.push_back(info.bytes.data());
  dims = s.size() == 1 ? std::vector{source.cols} : std::vector{source.cols, source.rows};
  if (rule.transform == Transform::add_one) source.add = 1;
  set_rope(rule, config_, source);
  if (source.rope_pairs > 0 && s.size() == 1)
    source.rows = s[0], source.cols = 1, source.row_step = 1;
  return ok();
}

Status Planner::fill_mxfp4(const TensorRule& rule, const Info& blocks, const std::string& from,
                           TensorSource& source, std::vector<int64_t>& dims) {
  constexpr std::string_view kBlocks = "_blocks";
  LM_CHECK(from.ends_with(kBlocks));
  const std::string name = concat(from.substr(0, from.size() - kBlocks.size()), "_scales");
  const Info* scales = inputs_.use(name);
  const std::vector<int64_t>& s = blocks.shape;
  const std::vector<int64_t> expected{s[0], s[1], s[2]};
  if (scales == nullptr || scales->shape != expected || scales->type != ElementType::u8 ||
      blocks.type != ElementType::u8) {
    return Error{ErrorCode::bad_file,
                 concat("expected ", printable(from), " with ", printable(name), " ",
                        shape_text(expected), ", both U8, found otherwise")};
  }
  source.stored = DType::mxfp4;
  const int64_t step = rule.transform == Transform::mxfp4 ? 1 : 2;
  source.first = rule.transform == Transform::mxfp4_odd ? 1 : 0;
  source.rows = s[1] / step, source.cols = s[2] * 32, source.row_step = step;
  for (int64_t e = 0; e < s[0]; ++e) {
    source.slices.push_back(blocks.bytes.data() + e * s[1] * s[2] * 16);
    source.scales.push_back(scales->bytes.data() + e * s[1] * s[2]);
  }
  dims = {source.cols, source.rows, s[0]};
  return ok();
}

// "gptq 4-bit g128 act-order"
std::string describe(const Quantization& quantization, const IntMatrix& m) {
  return concat(quantization.name, " ", m.bits(), "-bit ",
                m.group_size >= m.cols ? std::string("channel") : concat("g", m.group_size),
                m.zeros.data == nullptr ? " sym" : " asym", m.group_of ? " act-order" : "");
}

// false: the folder has no integers under this name.
Result<bool> Planner::gather_ints(const TensorRule& rule, const std::string& name,
                                  TensorSource& source, std::vector<int64_t>& dims) {
  constexpr std::string_view kWeight = ".weight";
  const bool matrix = rule.shape[1] != Dim::none && rule.shape[2] == Dim::none;
  const bool in_place = rule.transform == Transform::copy ||
                        rule.transform == Transform::rope_pairs_q ||
                        rule.transform == Transform::rope_pairs_k;
  if (!matrix || !in_place || !name.ends_with(kWeight)) return false;
  const std::string stem = name.substr(0, name.size() - kWeight.size());
  std::optional<IntMatrix> bound =
      LM_TRY(bind_int_matrix(quantization_, stem, resolve(rule.shape[0], config_),
                             resolve(rule.shape[1], config_), use(), quantization_notes_));
  if (!bound) return false;
  if (!source.slices.empty() || !source.fp8.empty()) {
    return Error{
        ErrorCode::unsupported,
        concat(printable(name), ": expected plain numbers as in expert 0, found integers")};
  }
  source.rows = bound->rows, source.cols = bound->cols;
  source.scheme = describe(quantization_, *bound);
  source.ints.push_back(*std::move(bound));
  set_rope(rule, config_, source);
  dims = {source.cols, source.rows};
  return true;
}

Status Planner::fill_fp8(const TensorRule& rule, const Info& info, const std::string& name,
                         TensorSource& source, std::vector<int64_t>& dims) {
  if (info.shape.size() != 2 || !name.ends_with(".weight")) {
    return Error{ErrorCode::unsupported,
                 concat(printable(info.name), ": expected 8-bit floats in matrices only")};
  }
  const std::string stem = name.substr(0, name.find_last_of('.'));
  source.fp8.push_back(LM_TRY(bind_fp8_matrix(quantization_, stem, info, use())));
  source.rows = info.shape[0], source.cols = info.shape[1];
  source.scheme = info.type == ElementType::f8_e5m2 ? "fp8 e5m2" : "fp8 e4m3";
  set_rope(rule, config_, source);
  dims = {source.cols, source.rows};
  return ok();
}

// false: the folder has no such tensor.
Result<bool> Planner::gather(const TensorRule& rule, const std::string& from, TensorSource& source,
                             std::vector<int64_t>& dims) {
  constexpr std::string_view kExpert = "{E}";
  const bool stacked = from.find(kExpert) != std::string::npos;
  for (int64_t e = 0; e < (stacked ? config_.n_experts : 1); ++e) {
    const std::string name = with_number(from, kExpert, e);
    if (LM_TRY(gather_ints(rule, name, source, dims))) continue;
    const Info* info = inputs_.use(name);
    if (info == nullptr && e == 0) return false;
    if (info == nullptr)
      return Error{ErrorCode::bad_file, concat("expected tensor ", name, ", found none")};
    LM_TRY(check_shape(rule, *info));
    if (!source.ints.empty()) {
      return Error{ErrorCode::unsupported,
                   concat(name, ": expected integers as in expert 0, found plain numbers")};
    }
    if (is_mxfp4(rule.transform)) {
      LM_TRY(fill_mxfp4(rule, *info, name, source, dims));
      continue;
    }
    if (info->type == ElementType::f8_e4m3 || info->type == ElementType::f8_e5m2) {
      LM_TRY(fill_fp8(rule, *info, name, source, dims));
      continue;
    }
    const DType before = source.stored;
    LM_TRY(fill(rule, *info, source, dims));
    if (e > 0 && source.stored != before) {
      return Error{ErrorCode::unsupported,
                   concat(name, ": expected ", dtype_name(before), " as expert 0, found ",
                          dtype_name(source.stored))};
    }
  }
  if (stacked) dims.push_back(config_.n_experts);
  return true;
}

Status Planner::apply(const TensorRule& rule, int64_t layer) {
  std::string to = with_number(rule.to, "{L}", layer);
  if (names_.contains(to)) return ok();  // an earlier rule made it
  const std::string from = with_number(rule.from, "{L}", layer);
  if (rule.optional && inputs_.says_nothing(from)) return ok();
  PlannedTensor tensor;
  if (!LM_TRY(gather(rule, from, tensor.source, tensor.dims))) {
    if (rule.optional || (from == kOutput && inputs_.tied())) return ok();
    return Error{ErrorCode::bad_file,
                 concat("expected tensor ", with_number(from, "{E}", 0), ", found none")};
  }
  names_.insert(to);
  tensor.name = std::move(to);
  planned_.push_back(std::move(tensor));
  return ok();
}

void Planner::add_rope_factors() {
  const RopeConfig& rope = config_.rope;
  const auto add = [&](std::string name, std::vector<float> factors) {
    planned_.push_back({.name = std::move(name),
                        .dims = {int64_t(factors.size())},
                        .source = {},
                        .computed = std::move(factors),
                        .computed_ints = {}});
  };
  if (rope.kind == RopeConfig::Kind::llama3) add("rope_freqs.weight", llama3_rope_factors(rope));
  if (rope.kind == RopeConfig::Kind::longrope) {
    add("rope_factors_long.weight", rope.long_factors);
    add("rope_factors_short.weight", rope.short_factors);
  }
}

Result<std::vector<PlannedTensor>> Planner::plan() {
  const auto for_rules = [&](bool in_layers, int64_t layer) -> Status {
    for (const std::span<const TensorRule> rules : config_.family->rules) {
      for (const TensorRule& rule : rules) {
        const bool of_layer = rule.to.find("{L}") != std::string_view::npos;
        if (of_layer == in_layers) LM_TRY(apply(rule, layer));
      }
    }
    return ok();
  };
  LM_TRY(for_rules(false, 0));
  add_rope_factors();
  for (int64_t layer = 0; layer < config_.n_layers; ++layer) LM_TRY(for_rules(true, layer));
  LM_TRY(inputs_.check_all_used());
  return std::move(planned_);
}

}  // namespace

Result<std::vector<PlannedTensor>> plan_tensors(const Config& config,
                                                const Quantization& quantization,
                                                const safetensors::File& file,
                                                std::vector<std::string>& notes) {
  Inputs inputs;
  LM_TRY(inputs.index(config, quantization, file));
  Planner planner(config, quantization, inputs);
  std::vector<PlannedTensor> planned = LM_TRY(planner.plan());
  if (inputs.n_other_towers() > 0) {
    notes.push_back(concat("left out ", inputs.n_other_towers(), " tensors of the vision tower"));
  }
  if (inputs.n_of_activations() > 0) {
    notes.push_back(concat("left out ", inputs.n_of_activations(),
                           " scales of activations or of the cache, which are not rounded here"));
  }
  for (std::string& note : planner.quantization_notes().text()) notes.push_back(std::move(note));
  return planned;
}

}  // namespace lm::hf
