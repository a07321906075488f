#include "engine/tools/quantize_plan.h"

#include <algorithm>

#include "engine/core/text.h"
#include "engine/model/model.h"
#include "engine/text/name_pattern.h"
#include "engine/tools/rewrite.h"
#include "quant/encode.h"

namespace lm {
namespace {

bool is_number(DType type) {
  return type == DType::f32 || type == DType::f16 || type == DType::bf16 || type == DType::f64;
}

bool is_block(DType type) {
  return dtype_info(type).block_elems > 1;
}

RecipeModel recipe_model(const gguf::File& file, const ModelConfig& config, bool importance) {
  RecipeModel model{.n_layers = int(config.layers.size()),
                    .tied = file.tensor("output.weight") == nullptr,
                    .importance = importance};
  for (const LayerSpec& layer : config.layers) {
    const AttnSpec& a = layer.attn;
    if (a.n_kv_heads > 0)
      model.heads_per_kv_head = std::max(model.heads_per_kv_head, a.n_heads / a.n_kv_heads);
    model.n_experts = std::max(model.n_experts, layer.ffn.moe.n_experts);
  }
  return model;
}

class Planner {
 public:
  Planner(const QuantizeOptions& options, const Recipe& recipe, RecipeModel model,
          const Imatrix* imatrix)
      : options_(options), recipe_(recipe), model_(model), imatrix_(imatrix) {}

  Status compile_overrides();
  Result<PlannedType> plan(const gguf::TensorInfo& tensor);
  void add_notes(std::vector<std::string>& notes) const;

 private:
  struct Override {
    NamePattern pattern;
    DType type;
    bool used = false;
  };

  DType wanted(const gguf::TensorInfo& tensor, const char*& reason);
  Status check(const gguf::TensorInfo& tensor, DType type) const;

  const QuantizeOptions& options_;
  const Recipe& recipe_;
  RecipeModel model_;
  const Imatrix* imatrix_;
  std::vector<Override> overrides_;
  size_t n_fallbacks_ = 0, n_unknown_ = 0;
};

Status Planner::compile_overrides() {
  for (const TypeOverride& one : options_.overrides)
    overrides_.push_back({LM_TRY(NamePattern::compile(one.pattern)), one.type});
  return ok();
}

// Before it is known whether its blocks divide the rows.
DType Planner::wanted(const gguf::TensorInfo& tensor, const char*& reason) {
  const std::span<const int64_t> dims = dims_of(tensor);
  const bool is_head =
      tensor.name == (model_.tied ? std::string_view("token_embd.weight") : "output.weight");
  reason = "kept";
  if (!is_number(tensor.dtype) && !is_block(tensor.dtype)) return tensor.dtype;  // integers
  Override* chosen = nullptr;
  // A norm or a bias, of each expert too, which other programs want in f32.
  const bool is_vector = dims.size() < 2 || tensor.name.ends_with(".bias");
  for (Override& one : overrides_) {
    if (is_vector || !one.pattern.occurs_in(tensor.name)) continue;
    one.used = true;
    chosen = &one;
  }
  if (chosen != nullptr) {
    reason = "--tensor-type";
    return chosen->type;
  }
  if (is_head && options_.keep_head) return tensor.dtype;
  const bool is_matrix = dims.size() > 1 && tensor.name.ends_with(".weight") &&
                         tensor.name.find("ffn_gate_inp") == std::string_view::npos;
  if (!is_matrix) return tensor.dtype;
  reason = "recipe";
  return recipe_type(recipe_, model_, tensor.name, dims);
}

Status Planner::check(const gguf::TensorInfo& tensor, DType type) const {
  if (type == tensor.dtype) return ok();
  if (!can_encode(type)) {
    return Error{ErrorCode::unsupported,
                 concat(printable(tensor.name), ": expected a type that can be written, found ",
                        dtype_name(type))};
  }
  if (is_block(tensor.dtype) && !options_.allow_requantize) {
    return Error{ErrorCode::unsupported,
                 concat(printable(tensor.name), ": expected f32, f16 or bf16, found ",
                        dtype_name(tensor.dtype),
                        ", which would be rounded a second time\n--allow-requantize does it, at "
                        "some loss; better start from the original weights")};
  }
  return ok();
}

Result<PlannedType> Planner::plan(const gguf::TensorInfo& tensor) {
  PlannedType planned{.from = &tensor, .type = tensor.dtype, .reason = "kept", .weighted = false};
  const DType wanted_type = wanted(tensor, planned.reason);
  planned.type = wanted_type;
  // The recipe has seen to its own types; what it names is what the first choice would have been.
  const int64_t cols = tensor.dims[0];
  planned.type = dividing_type(wanted_type, cols);
  const bool by_recipe = std::string_view(planned.reason) == "recipe";
  if (planned.type != wanted_type || (by_recipe && cols % dtype_info(recipe_.base).block_elems)) {
    if (planned.type != tensor.dtype) planned.reason = "fallback";
    ++n_fallbacks_;
  }
  LM_TRY(check(tensor, planned.type));
  if (planned.type == tensor.dtype || !is_block(planned.type)) return planned;
  planned.weighted = bool(importance_of(imatrix_, tensor));
  if (imatrix_ != nullptr && !planned.weighted && tensor.name.starts_with("blk.")) ++n_unknown_;
  return planned;
}

void Planner::add_notes(std::vector<std::string>& notes) const {
  if (n_fallbacks_ > 0) {
    notes.push_back(concat(n_fallbacks_,
                           " tensors have rows that are no whole number of the recipe's blocks, "
                           "and get a format with smaller ones"));
  }
  if (n_unknown_ > 0) {
    notes.push_back(concat("the importance matrix does not fit ", n_unknown_,
                           " matrices of the layers: they are rounded without it"));
  }
  for (size_t i = 0; i < overrides_.size(); ++i) {
    if (overrides_[i].used) continue;
    notes.push_back(
        concat("no matrix is called like \"", printable(options_.overrides[i].pattern), "\""));
  }
}

}  // namespace

Result<std::vector<PlannedType>> plan_types(const QuantizeOptions& options, const Recipe& recipe,
                                            const gguf::File& file, const Imatrix* imatrix,
                                            std::vector<std::string>& notes) {
  const ModelConfig config = LM_TRY(read_config(file));
  Planner planner(options, recipe, recipe_model(file, config, imatrix != nullptr), imatrix);
  LM_TRY(planner.compile_overrides());
  std::vector<PlannedType> plan;
  for (const gguf::TensorInfo& tensor : file.tensors()) {
    plan.push_back(LM_TRY(planner.plan(tensor)));
  }
  planner.add_notes(notes);
  return plan;
}

}  // namespace lm
