#include "engine/tools/export_plan.h"

#include <algorithm>
#include <cstring>
#include <unordered_map>
#include <unordered_set>

#include "engine/core/json.h"
#include "engine/core/text.h"
#include "engine/tools/convert_order.h"

namespace lm::hf {
namespace {

using Numbers = std::vector<int32_t>;

std::string with_number(std::string_view pattern, std::string_view hole, int64_t number) {
  const size_t at = pattern.find(hole);
  if (at == std::string_view::npos) return std::string(pattern);
  return concat(pattern.substr(0, at), number, pattern.substr(at + hole.size()));
}

// inverse[order[j]] = j. Empty for an empty order; an error unless each number occurs once.
Result<Numbers> inverse_of(const std::string& name, std::span<const int32_t> order) {
  Numbers inverse(order.size(), -1);
  for (size_t j = 0; j < order.size(); ++j) {
    const int64_t to = order[j];
    if (to < 0 || to >= int64_t(order.size()) || inverse[size_t(to)] != -1) {
      return Error{ErrorCode::bad_file,
                   concat(name, ": expected each of 0 to ", order.size() - 1, " once, found ", to)};
    }
    inverse[size_t(to)] = int32_t(j);
  }
  return inverse;
}

class ExportPlanner {
 public:
  ExportPlanner(const gguf::File& file, const ModelConfig& config, const Family& family)
      : file_(file), config_(config), family_(family) {}

  Result<std::vector<ExportItem>> plan();

 private:
  Status read_wanted();
  Status apply(const TensorRule& rule, int64_t layer);
  Status add_orders(const TensorRule& rule, int64_t layer, size_t expert, ExportItem& item);
  Result<Numbers> column_order(const std::string& input, int64_t n);
  Result<Numbers> folded_order(const std::string& matrix, size_t slice, int64_t n);
  std::optional<GptqShape> shape_of(const ExportItem& item) const;

  const gguf::File& file_;
  const ModelConfig& config_;
  const Family& family_;
  std::unordered_map<std::string, GptqShape> wanted_;
  std::unordered_set<const gguf::TensorInfo*> used_;
  std::vector<ExportItem> items_;
};

// "blk.0.attn_q.weight 4 128"
Status ExportPlanner::read_wanted() {
  if (file_.value(kImportMatricesKey) == nullptr) return ok();
  for (const std::string_view line : LM_TRY(file_.strs(kImportMatricesKey))) {
    const size_t last = line.rfind(' '), middle = line.rfind(' ', last - 1);
    if (last == std::string_view::npos || middle == std::string_view::npos) continue;
    const auto bits = parse_int(line.substr(middle + 1, last - middle - 1));
    const auto group = parse_int(line.substr(last + 1));
    if (!bits || !group || *bits < 2 || *bits > 8 || *group < 1) continue;  // then as blocks say
    wanted_[std::string(line.substr(0, middle))] = {.bits = int(*bits), .group = *group};
  }
  return ok();
}

// Where column k of the folder's tensor lies in the file's.
Result<Numbers> ExportPlanner::column_order(const std::string& input, int64_t n) {
  const std::string name = input + ".perm";
  const gguf::TensorInfo* info = file_.tensor(name);
  if (info == nullptr) return Numbers();
  if (info->dtype != DType::i32 || info->bytes.size() != size_t(n) * 4) {
    return Error{ErrorCode::bad_file, concat(name, ": expected ", n, " numbers of 32 bits")};
  }
  used_.insert(info);
  Numbers order(size_t(n), 0);
  std::memcpy(order.data(), info->bytes.data(), info->bytes.size());
  return inverse_of(name, order);
}

Result<Numbers> ExportPlanner::folded_order(const std::string& matrix, size_t slice, int64_t n) {
  const std::string key = folded_order_key(matrix);
  if (file_.value(key) == nullptr) return Numbers();
  const Numbers all = LM_TRY(file_.i32s(key));
  if (n < 1 || all.size() % size_t(n) != 0 || (slice + 1) * size_t(n) > all.size()) {
    return Error{ErrorCode::bad_file, concat(key, ": expected ", n, " numbers for each matrix")};
  }
  return inverse_of(key, std::span(all).subspan(slice * size_t(n), size_t(n)));
}

// Undoes what plan_orders() (convert_order.h) and llama's rope did.
Status ExportPlanner::add_orders(const TensorRule& rule, int64_t layer, size_t expert,
                                 ExportItem& item) {
  const std::string prefix = concat("blk.", layer, ".");
  const auto is = [&](std::string_view part) { return rule.to.find(part) != std::string::npos; };
  Numbers& cols = item.cols_from;
  if (is(".attn_q.w") || is(".attn_k.w") || is(".attn_v.w") || is(".attn_qkv.w") ||
      is(".attn_norm.w")) {
    cols = LM_TRY(column_order(prefix + "attn_norm", item.cols));
  } else if (is(".attn_output.w")) {
    cols = LM_TRY(column_order(prefix + "attn_output", item.cols));
  } else if (is(".ffn_gate.w") || is(".ffn_up.w") || is(".ffn_norm.w")) {
    cols = LM_TRY(column_order(prefix + "ffn_norm", item.cols));
  } else if (rule.to == "output.weight" || rule.to == "output_norm.weight") {
    cols = LM_TRY(column_order("output_norm", item.cols));
  }
  const std::string down = concat(prefix, "ffn_down", is("_exps.") ? "_exps" : "");
  if (is(".ffn_down.w") || is(".ffn_down_exps.w")) {
    cols = LM_TRY(folded_order(down, expert, item.cols));
  } else if (is(".ffn_gate.b") || is(".ffn_up.b")) {
    cols = LM_TRY(folded_order(down, expert, item.cols));
  } else if (is(".ffn_gate.w") || is(".ffn_up.w") || is("_exps.w")) {
    const bool fused = is(".ffn_up.w") && file_.tensor(prefix + "ffn_gate.weight") == nullptr;
    if (fused && item.rows % 2 != 0) {
      return Error{ErrorCode::bad_file,
                   concat(printable(item.from->name), ": expected the rows of two matrices, found ",
                          item.rows)};
    }
    Numbers rows = LM_TRY(folded_order(down, expert, fused ? item.rows / 2 : item.rows));
    const size_t half = rows.size();
    for (size_t i = 0; fused && i < half; ++i) rows.push_back(rows[i] + int32_t(half));
    item.rows_from = std::move(rows);
  }
  if (rule.transform == Transform::rope_pairs_q || rule.transform == Transform::rope_pairs_k) {
    const int d = config_.layers[size_t(layer)].attn.head_dim;
    const int64_t n = item.is_vector ? item.cols : item.rows;
    if (n % d != 0) {
      return Error{ErrorCode::bad_file,
                   concat(printable(item.from->name), ": expected rows of whole heads of ", d,
                          ", found ", n)};
    }
    Numbers from;
    for (int64_t row = 0; row < n; ++row) {  // halves (i, i + d/2) from neighbours (2i, 2i + 1)
      const int64_t i = row % d;
      from.push_back(int32_t(row - i + (i < d / 2 ? 2 * i : 2 * (i - d / 2) + 1)));
    }
    (item.is_vector ? item.cols_from : item.rows_from) = std::move(from);
  }
  return ok();
}

std::optional<GptqShape> ExportPlanner::shape_of(const ExportItem& item) const {
  const std::string name(item.from->name);
  const auto wanted = wanted_.find(name);
  const bool from_import = wanted != wanted_.end();
  // Other programs expect integers in linear layers; of the output matrix only when it had them.
  if (!item.is_module || (item.from->name == "output.weight" && !from_import)) return std::nullopt;
  if (!from_import && item.from->dtype != DType::q4_0 && !is_i4g(item.from->dtype))
    return std::nullopt;
  return gptq_shape({item.from->dtype, item.data, item.rows, item.cols},
                    from_import ? std::optional(wanted->second) : std::nullopt);
}

Status ExportPlanner::apply(const TensorRule& rule, int64_t layer) {
  const gguf::TensorInfo* info = file_.tensor(with_number(rule.to, "{L}", layer));
  if (info == nullptr || used_.contains(info)) return ok();  // or an earlier rule took it
  switch (rule.transform) {
    case Transform::copy:
    case Transform::add_one:
    case Transform::rope_pairs_q:
    case Transform::rope_pairs_k:
      break;
    default:
      return Error{ErrorCode::unsupported,
                   concat("expected tensors that Hugging Face stores one by one, found ",
                          printable(info->name), " of the family ", family_.hf)};
  }
  used_.insert(info);
  const bool stacked = rule.from.find("{E}") != std::string_view::npos;
  const int64_t n_slices = stacked ? info->dims[2] : 1;
  if (info->dims[3] != 1 || (!stacked && info->dims[2] != 1)) {
    return Error{ErrorCode::bad_file,
                 concat(printable(info->name), ": expected a matrix, found more dimensions")};
  }
  for (int64_t e = 0; e < n_slices; ++e) {
    ExportItem item;
    item.name = with_number(with_number(rule.from, "{L}", layer), "{E}", e);
    item.from = info;
    item.is_vector = info->n_dims == 1;
    item.rows = item.is_vector ? 1 : info->dims[1];
    item.cols = info->dims[0];
    item.data = info->bytes.data() + size_t(e) * (info->bytes.size() / size_t(n_slices));
    item.add = rule.transform == Transform::add_one ? -1 : 0;
    item.is_module = !item.is_vector && rule.to != "token_embd.weight" &&
                     rule.to.find("ffn_gate_inp") == std::string_view::npos;
    LM_TRY(add_orders(rule, layer, size_t(e), item));
    item.gptq = shape_of(item);
    items_.push_back(std::move(item));
  }
  return ok();
}

Result<std::vector<ExportItem>> ExportPlanner::plan() {
  LM_TRY(read_wanted());
  const auto apply_rules = [&](bool in_layers, int64_t layer) -> Status {
    for (const std::span<const TensorRule> rules : family_.rules) {
      for (const TensorRule& rule : rules) {
        if ((rule.to.find("{L}") != std::string_view::npos) == in_layers)
          LM_TRY(apply(rule, layer));
      }
    }
    return ok();
  };
  LM_TRY(apply_rules(false, 0));
  for (size_t layer = 0; layer < config_.layers.size(); ++layer)
    LM_TRY(apply_rules(true, int64_t(layer)));
  for (const gguf::TensorInfo& info : file_.tensors()) {
    if (used_.contains(&info) || info.name.starts_with("rope_f")) continue;
    return Error{ErrorCode::unsupported, concat("expected only tensors with a name in ", family_.hf,
                                                ", found ", printable(info.name))};
  }
  return std::move(items_);
}

}  // namespace

std::string ExportItem::stem() const {
  constexpr std::string_view kWeight = ".weight";
  return name.ends_with(kWeight) ? name.substr(0, name.size() - kWeight.size()) : name;
}

// What config.json named, where the file was made from one; else the first family that fits.
const Family* family_of_file(const gguf::File& file, const ModelConfig& config) {
  const Result<std::string_view> text = file.str(kImportConfigKey);
  if (text.ok()) {
    const Result<SortedJson> json = parse_sorted_json(text.value());
    const auto names = json.ok() && json.value().is_object() ? json.value().find("architectures")
                                                             : SortedJson::const_iterator();
    if (json.ok() && json.value().is_object() && names != json.value().end() && names->is_array() &&
        !names->empty() && (*names)[0].is_string()) {
      const Family* family = find_family((*names)[0].get_ref<const std::string&>());
      if (family != nullptr && family->gguf == config.family) return family;
    }
  }
  const bool experts = !config.layers.empty() && config.layers[0].ffn.moe.n_experts > 0;
  const bool window = !config.layers.empty() && config.layers[0].attn.window > 0;
  for (const Family& family : families()) {
    if (family.gguf != config.family || experts == family.n_experts_key.empty()) continue;
    if (window && family.windows == Windows::none) continue;
    return &family;
  }
  return nullptr;
}

Result<std::vector<ExportItem>> plan_export(const gguf::File& file, const ModelConfig& config,
                                            const Family& family) {
  return ExportPlanner(file, config, family).plan();
}

}  // namespace lm::hf
