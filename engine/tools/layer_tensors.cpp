#include "engine/tools/layer_tensors.h"

#include <optional>

#include "engine/core/text.h"

namespace lm {
namespace {

struct Layer {
  const gguf::File& file;
  const LayerSpec& spec;
  std::string prefix;

  std::string name(std::string_view rest) const { return prefix + std::string(rest); }
  bool has(std::string_view rest) const { return file.tensor(name(rest)) != nullptr; }

  // Norms have a factor for each column; rows of a matrix have a bias, perhaps.
  void add_producer(InputGroup& group, std::string_view stem, int64_t first, int64_t n) const {
    group.producers.push_back({name(concat(stem, ".weight")), first, n});
    const std::string bias = name(concat(stem, ".bias"));
    if (file.tensor(bias) != nullptr) group.producers.push_back({bias, first, n});
  }
  std::optional<InputGroup> group(std::vector<std::string_view> stems) const {
    InputGroup result;
    for (const std::string_view stem : stems) {
      if (has(concat(stem, ".weight"))) result.tensors.push_back(name(concat(stem, ".weight")));
    }
    if (result.tensors.empty()) return std::nullopt;
    result.watched = result.tensors.front();
    result.n_cols = file.tensor(result.watched)->dims[0];
    return result;
  }

  void behind_norm(std::vector<InputGroup>& groups, std::string_view norm,
                   std::vector<std::string_view> stems) const {
    std::optional<InputGroup> group = this->group(std::move(stems));
    if (!group) return;
    if (has(norm)) group->producers.push_back({name(norm), 0, group->n_cols});
    groups.push_back(std::move(*group));
  }
  void attention_output(std::vector<InputGroup>& groups) const;
  void feed_forward(std::vector<InputGroup>& groups) const;
  std::optional<InputGroup> expert_group(int expert, std::vector<std::string_view> stems) const;
  void experts(std::vector<InputGroup>& groups) const;
};

void Layer::attention_output(std::vector<InputGroup>& groups) const {
  std::optional<InputGroup> group = this->group({"attn_output"});
  if (!group) return;
  const AttnSpec& a = spec.attn;
  const int64_t kv = int64_t(a.n_kv_heads) * a.head_dim, q = int64_t(a.n_heads) * a.head_dim;
  if (has("attn_v.weight")) {
    add_producer(*group, "attn_v", 0, kv);
  } else if (has("attn_qkv.weight")) {
    add_producer(*group, "attn_qkv", q + kv, kv);
  }
  const int64_t per_kv = a.n_kv_heads > 0 ? a.n_heads / a.n_kv_heads : 1;
  for (int64_t k = 0; k < group->n_cols; ++k) {
    const int64_t head = k / a.head_dim;
    group->producer_row.push_back(int32_t(head / per_kv * a.head_dim + k % a.head_dim));
  }
  groups.push_back(std::move(*group));
}

void Layer::feed_forward(std::vector<InputGroup>& groups) const {
  if (spec.ffn.moe.n_experts > 0) return experts(groups);
  behind_norm(groups, "ffn_norm.weight", {"ffn_gate", "ffn_up"});
  std::optional<InputGroup> down = group({"ffn_down"});
  if (!down) return;
  // The product act(gate) * up is linear in up, but where up is clamped and moved by one.
  if (spec.ffn.act != Act::swiglu_oai) {
    const bool together = !has("ffn_gate.weight");
    add_producer(*down, "ffn_up", together ? spec.ffn.d_ff : 0, spec.ffn.d_ff);
  }
  groups.push_back(std::move(*down));
}

// Experts lie together in "ffn_up_exps.weight", or apart in "ffn_up.7.weight", which the engine
// joins and calls "ffn_up".
std::optional<InputGroup> Layer::expert_group(int expert,
                                              std::vector<std::string_view> stems) const {
  const MoeSpec& moe = spec.ffn.moe;
  const std::string first = concat(stems.front(), "_exps.weight");
  InputGroup group{.watched = name(has(first) ? std::string_view(first) : stems.front()),
                   .expert = expert,
                   .share = double(moe.top_k) / moe.n_experts,
                   .tensors = {},
                   .producers = {},
                   .producer_row = {}};
  for (const std::string_view stem : stems) {
    const std::string together = concat(stem, "_exps.weight"),
                      apart = concat(stem, '.', expert, ".weight");
    if (has(together) || has(apart))
      group.tensors.push_back(name(has(together) ? together : apart));
  }
  if (group.tensors.empty()) return std::nullopt;
  group.n_cols = file.tensor(group.tensors.front())->dims[0];
  return group;
}

// The norm before them has other readers, which have no part in what an expert would like of it.
void Layer::experts(std::vector<InputGroup>& groups) const {
  const int64_t d_ff = spec.ffn.moe.d_ff;
  for (int e = 0; e < spec.ffn.moe.n_experts; ++e) {
    std::optional<InputGroup> up = expert_group(e, {"ffn_gate", "ffn_up"}),
                              down = expert_group(e, {"ffn_down"});
    if (!up || !down) return;  // (loading the layer says what is missing)
    if (spec.ffn.act != Act::swiglu_oai) {
      const bool together = has("ffn_up_exps.weight");
      add_producer(*down, together ? std::string("ffn_up_exps") : concat("ffn_up.", e),
                   together ? e * d_ff : 0, d_ff);
    }
    groups.push_back(std::move(*up));
    groups.push_back(std::move(*down));
  }
}

}  // namespace

std::vector<InputGroup> input_groups(const gguf::File& file, const ModelConfig& config, int i) {
  const Layer layer{file, config.layers[size_t(i)], concat("blk.", i, ".")};
  std::vector<InputGroup> groups;
  layer.behind_norm(groups, "attn_norm.weight", {"attn_q", "attn_k", "attn_v", "attn_qkv"});
  layer.attention_output(groups);
  layer.feed_forward(groups);
  return groups;
}

TensorRows rows_of(const gguf::TensorInfo& tensor, const InputGroup& group) {
  const auto& dims = tensor.dims;
  if (group.expert < 0) return {std::string(tensor.name), 0, dims[1] * dims[2] * dims[3]};
  return {std::string(tensor.name), dims[2] > 1 ? group.expert * dims[1] : 0, dims[1]};
}

int layer_of(std::string_view name) {
  if (!name.starts_with("blk.")) return -1;
  name.remove_prefix(4);
  const std::optional<int64_t> i = parse_int(name.substr(0, name.find('.')));
  return i && *i >= 0 && *i < (1 << 20) ? int(*i) : -1;
}

}  // namespace lm
