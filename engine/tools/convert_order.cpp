#include "engine/tools/convert_order.h"

#include <algorithm>
#include <numeric>
#include <unordered_map>

#include "engine/core/text.h"

namespace lm::hf {
namespace {

Order sorted_by_group(const IntMatrix& m) {
  std::vector<int32_t> order(size_t(m.cols), 0);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return (*m.group_of)[size_t(a)] < (*m.group_of)[size_t(b)];
  });
  return std::make_shared<const std::vector<int32_t>>(std::move(order));
}

// `order`, and behind it the same again for the second half of a fused matrix.
Order doubled(const Order& order) {
  std::vector<int32_t> twice(*order);
  const auto n = int32_t(order->size());
  for (int32_t i = 0; i < n; ++i) twice.push_back(n + (*order)[size_t(i)]);
  return std::make_shared<const std::vector<int32_t>>(std::move(twice));
}

class OrderPlanner {
 public:
  OrderPlanner(const Config& config, bool standard_only, std::vector<PlannedTensor>& tensors)
      : config_(config), standard_only_(standard_only), tensors_(tensors) {
    for (size_t i = 0; i < tensors.size(); ++i) index_[tensors[i].name] = i;
  }

  std::vector<FoldedOrder> plan();

 private:
  PlannedTensor* find(const std::string& name) {
    const auto at = index_.find(name);
    return at == index_.end() ? nullptr : &tensors_[at->second];
  }
  void fold_down(const std::string& layer, std::string_view suffix);
  void share(std::initializer_list<std::string> readers, const std::string& input);

  const Config& config_;
  bool standard_only_;
  std::vector<PlannedTensor>& tensors_;
  std::unordered_map<std::string, size_t> index_;
  std::vector<FoldedOrder> folded_;
};

// The rows of gate and up take the order of down's columns. suffix: "", or "_exps".
void OrderPlanner::fold_down(const std::string& layer, std::string_view suffix) {
  PlannedTensor* down = find(concat(layer, "ffn_down", suffix, ".weight"));
  PlannedTensor* gate = find(concat(layer, "ffn_gate", suffix, ".weight"));
  PlannedTensor* up = find(concat(layer, "ffn_up", suffix, ".weight"));
  if (down == nullptr || up == nullptr || down->source.ints.empty()) return;
  const std::vector<IntMatrix>& slices = down->source.ints;
  if (std::ranges::none_of(slices, [](const IntMatrix& m) { return m.group_of != nullptr; }))
    return;
  PlannedTensor* gate_bias = find(concat(layer, "ffn_gate", suffix, ".bias"));
  PlannedTensor* up_bias = find(concat(layer, "ffn_up", suffix, ".bias"));
  const bool biases_of_experts = slices.size() > 1 && (gate_bias != nullptr || up_bias != nullptr);
  const bool foldable = [&](const PlannedTensor* t) {
    return t == nullptr || t->source.n_slices() == slices.size();
  }(gate) && up->source.n_slices() == slices.size();
  if (biases_of_experts || !foldable) return;

  std::vector<Order> orders;
  FoldedOrder folded{concat(layer, "ffn_down", suffix), {}};
  for (const IntMatrix& m : slices) {
    Order order = m.group_of ? sorted_by_group(m) : nullptr;
    if (uniform_run(m, order) == 0) return;
    for (int64_t j = 0; j < m.cols; ++j)
      folded.order.push_back(order ? (*order)[size_t(j)] : int32_t(j));
    orders.push_back(std::move(order));
  }
  down->source.col_orders = orders;
  if (gate != nullptr) gate->source.row_orders = orders;
  up->source.row_orders = orders;
  if (gate == nullptr) {  // up holds both, gate first (phi3)
    for (Order& order : up->source.row_orders) order = order ? doubled(order) : nullptr;
  }
  for (PlannedTensor* bias : {gate_bias, up_bias}) {  // a row of d_ff numbers
    if (bias != nullptr) bias->source.col_orders = orders;
  }
  folded_.push_back(std::move(folded));
}

// Matrices that read the same input take one order of columns together, if one suits all.
// `input`: the stem of what writes it. The weights of a norm go into that order too.
void OrderPlanner::share(std::initializer_list<std::string> readers, const std::string& input) {
  std::vector<PlannedTensor*> matrices;
  for (const std::string& name : readers) {
    PlannedTensor* tensor = find(name);
    if (tensor != nullptr) matrices.push_back(tensor);
  }
  const auto suits_all = [&](const Order& order) {
    return std::ranges::all_of(matrices, [&](const PlannedTensor* t) {
      if (t->source.n_slices() != 1 || t->source.stored == DType::mxfp4) return false;
      return t->source.ints.empty() || uniform_run(t->source.ints[0], order) > 0;
    });
  };
  if (standard_only_ || suits_all(nullptr)) return;
  for (const PlannedTensor* candidate : matrices) {
    if (candidate->source.ints.size() != 1 || !candidate->source.ints[0].group_of) continue;
    const Order order = sorted_by_group(candidate->source.ints[0]);
    if (!suits_all(order)) continue;
    for (PlannedTensor* tensor : matrices) tensor->source.col_orders = {order};
    PlannedTensor* norm = find(input + ".weight");
    if (norm != nullptr && norm->dims.size() == 1) norm->source.col_orders = {order};
    tensors_.push_back({.name = input + ".perm",
                        .dims = {int64_t(order->size())},
                        .source = {},
                        .computed = {},
                        .computed_ints = *order});
    return;
  }
}

std::vector<FoldedOrder> OrderPlanner::plan() {
  tensors_.reserve(tensors_.size() + size_t(3 * config_.n_layers + 1));  // pointers stay valid
  for (int64_t i = 0; i < config_.n_layers; ++i) {
    const std::string layer = concat("blk.", i, ".");
    fold_down(layer, "");
    fold_down(layer, "_exps");
    share({layer + "attn_q.weight", layer + "attn_k.weight", layer + "attn_v.weight",
           layer + "attn_qkv.weight"},
          layer + "attn_norm");
    share({layer + "attn_output.weight"}, layer + "attn_output");
    if (config_.n_experts == 0)
      share({layer + "ffn_gate.weight", layer + "ffn_up.weight"}, layer + "ffn_norm");
  }
  share({"output.weight"}, "output_norm");
  return std::move(folded_);
}

}  // namespace

std::vector<FoldedOrder> plan_orders(const Config& config, bool standard_only,
                                     std::vector<PlannedTensor>& tensors) {
  return OrderPlanner(config, standard_only, tensors).plan();
}

std::string folded_order_key(const std::string& matrix) {
  return concat("llm.import.order.", matrix);
}

}  // namespace lm::hf
