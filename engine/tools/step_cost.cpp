#include "engine/tools/step_cost.h"

#include <algorithm>
#include <cmath>
#include <map>

namespace lm {
namespace {

double numbers_in(const ShapeTensor& tensor) {
  double n = 1;
  for (const int64_t dim : tensor.dims) n *= double(dim);
  return n;
}

uint64_t bytes_in(const ShapeTensor& tensor) {
  uint64_t bytes = row_bytes(tensor.dtype, tensor.dims[0]);
  for (size_t i = 1; i < tensor.dims.size(); ++i) bytes *= uint64_t(tensor.dims[i]);
  return bytes;
}

}  // namespace

double least_seconds(const StepCost& cost, const DeviceLimits& limits) {
  const auto over = [](double amount, double rate) { return rate > 0 ? amount / rate : 0; };
  const double reading = over(cost.bytes, limits.read_bytes_per_second);
  const double computing = over(cost.int8_ops, limits.int8_ops_per_second) +
                           over(cost.f32_flops, limits.f32_flops_per_second);
  return std::max(reading, computing);
}

ModelCost::ModelCost(std::span<const ShapeTensor> tensors, const ModelConfig& config,
                     DType kv_dtype) {
  const bool tied = std::none_of(tensors.begin(), tensors.end(), [](const ShapeTensor& tensor) {
    return tensor.name == "output.weight";
  });
  double expert_share = 1;
  for (const LayerSpec& layer : config.layers) {
    const MoeSpec& moe = layer.ffn.moe;
    if (moe.n_experts > 0) expert_share = double(moe.top_k) / moe.n_experts;
    const uint64_t bytes =
        2 * uint64_t(layer.attn.n_kv_heads) * row_bytes(kv_dtype, layer.attn.head_dim);
    layers_.push_back({double(bytes), layer.attn.window});
    kv_bytes_ += bytes;
  }
  std::map<DType, uint64_t> totals;
  for (const ShapeTensor& tensor : tensors) {
    file_bytes_ += bytes_in(tensor);
    totals[tensor.dtype] += bytes_in(tensor);
    add(tensor, tied, expert_share);
  }
  for (const auto& [type, bytes] : totals) {
    if (bytes > totals[main_type_]) main_type_ = type;
  }
}

void ModelCost::add(const ShapeTensor& tensor, bool tied, double expert_share) {
  const std::string& name = tensor.name;
  if (tensor.dims.size() < 2 || name.ends_with(".bias")) return;
  const bool table = name == "token_embd.weight";
  if (table && !tied) return;  // a row of it is nothing
  const bool experts = name.find("_exps.") != std::string::npos;
  matrices_.push_back({.bytes = double(bytes_in(tensor)),
                       .numbers = numbers_in(tensor),
                       .blocks = dtype_info(tensor.dtype).block_elems > 1,
                       .output = table || name == "output.weight",
                       .share = experts ? expert_share : 1});
}

uint64_t ModelCost::bytes_per_token() const {
  double bytes = 0;
  for (const Matrix& matrix : matrices_) bytes += matrix.bytes * matrix.share;
  return uint64_t(bytes);
}

StepCost ModelCost::step(int n_tokens, int n_seqs, double depth) const {
  StepCost cost;
  const double rows = double(n_tokens) * n_seqs;
  for (const Matrix& matrix : matrices_) {
    // The experts that `rows` independent choices reach.
    const double reached = 1 - std::pow(1 - matrix.share, rows);
    cost.bytes += matrix.bytes * reached;
    const double operations = 2 * matrix.numbers * matrix.share * (matrix.output ? n_seqs : rows);
    (matrix.blocks ? cost.int8_ops : cost.f32_flops) += operations;
  }
  for (const LayerKv& layer : layers_) {
    const double visible = depth + n_tokens;
    const double read =
        layer.window > 0 ? std::min(visible, double(layer.window) + n_tokens - 1) : visible;
    cost.bytes += layer.bytes * read * n_seqs;
  }
  return cost;
}

std::vector<ShapeTensor> tensors_of(const gguf::File& file) {
  std::vector<ShapeTensor> tensors;
  for (const gguf::TensorInfo& info : file.tensors()) {
    tensors.push_back(
        {std::string(info.name), info.dtype, {info.dims.begin(), info.dims.begin() + info.n_dims}});
  }
  return tensors;
}

}  // namespace lm
