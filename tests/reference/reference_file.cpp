// tests/reference/reference_file.cpp — how the reference decoder finds its numbers in a GGUF file.
#include <cmath>

#include "quant/decode.h"
#include "tests/reference/reference_decoder.h"
#include "tests/support/support.h"

namespace lm::test {
namespace {

constexpr double kPi = 3.14159265358979323846;

}  // namespace

// "attention.head_count" of the file's architecture; arrays are not needed here.
double ReferenceDecoder::number(std::string_view key, double fallback) const {
  const std::string full = arch_ + "." + std::string(key);
  if (file_.value(full) == nullptr) return fallback;
  const Result<int64_t> whole = file_.i64(full);
  return whole.ok() ? double(whole.value()) : double(require_ok(file_.f32(full)));
}

Matrix ReferenceDecoder::tensor(const std::string& name) const {
  const gguf::TensorInfo* info = file_.tensor(name);
  if (info == nullptr) return {};
  const int64_t rows = info->dims[1] * info->dims[2], cols = info->dims[0];
  std::vector<float> values(size_t(rows * cols));
  decode(info->dtype, info->bytes.data(), values.data(), rows * cols);
  return {rows, cols, Vec(values.begin(), values.end())};
}

// "blk.0.ffn_gate_exps.weight" cut into its experts, or "blk.0.ffn_gate.0.weight" and so on, or the
// only matrix of a dense layer.
std::vector<Matrix> ReferenceDecoder::experts(const std::string& name) const {
  const gguf::TensorInfo* info = file_.tensor(name);
  if (info == nullptr) {
    const size_t cut = name.find("_exps.weight");
    std::vector<Matrix> apart;
    while (cut != std::string::npos) {
      Matrix one = tensor(name.substr(0, cut) + "." + std::to_string(apart.size()) + ".weight");
      if (!one) break;
      apart.push_back(std::move(one));
    }
    return apart;
  }
  const Matrix all = tensor(name);
  const bool bias = name.ends_with("bias");
  const int64_t n = bias ? info->dims[1] : info->dims[2];
  std::vector<Matrix> parts;
  for (int64_t e = 0; e < n; ++e) parts.push_back(all.part(e * (all.rows / n), all.rows / n));
  return parts;
}

// Gemma 3: five windowed layers, then a full one. gpt-oss: every second one is full.
bool ReferenceDecoder::slides(int layer) const {
  const int standard = arch_ == "gemma3" ? 6 : arch_ == "gpt-oss" ? 2 : 0;
  const int period = int(number("attention.sliding_window_pattern", standard));
  return period == 0 || (layer + 1) % period != 0;
}

ReferenceRope ReferenceDecoder::make_rope(bool local) const {
  ReferenceRope rope;
  rope.interleaved = arch_ == "llama";
  const int dims = int(number("rope.dimension_count", head_dim_));
  double theta = number("rope.freq_base", 10000);
  const bool own_theta = local && arch_ == "gemma3";
  if (own_theta) theta = number("rope.freq_base_swa", 10000);
  for (int i = 0; i < dims / 2; ++i) rope.frequency.push_back(std::pow(theta, -2.0 * i / dims));
  if (own_theta) return rope;

  const double scale = number("rope.scaling.factor", 1);
  const double original = number("rope.scaling.original_context_length", n_ctx_);
  const std::string_view type = require_ok(file_.str_or(arch_ + ".rope.scaling.type", ""));
  if (const Matrix divisors = tensor("rope_freqs.weight")) {
    for (size_t i = 0; i < rope.frequency.size(); ++i) rope.frequency[i] /= divisors.w[i];
  }
  if (type == "linear") {
    for (double& f : rope.frequency) f /= scale;
  }
  if (type == "yarn") {
    // A pair that turns `r` times in the original context has this (fractional) index.
    const auto index = [&](double r) {
      return dims / 2.0 * std::log(original / (2 * kPi * r)) / std::log(theta);
    };
    const bool whole = arch_ != "gpt-oss";
    const double from = std::max(0.0, whole ? std::floor(index(32)) : index(32));
    const double to = std::min(dims - 1.0, whole ? std::ceil(index(1)) : index(1));
    for (size_t i = 0; i < rope.frequency.size(); ++i) {
      const double kept =
          1 - std::min(1.0, std::max(0.0, (double(i) - from) / (to == from ? 0.001 : to - from)));
      rope.frequency[i] = kept * rope.frequency[i] + (1 - kept) * rope.frequency[i] / scale;
    }
    rope.magnitude = 0.1 * std::log(scale) + 1;
  }
  if (file_.tensor("rope_factors_long.weight") != nullptr) {
    const double trained = number("context_length", 0);
    const Matrix divisors =
        tensor(n_ctx_ > original ? "rope_factors_long.weight" : "rope_factors_short.weight");
    for (size_t i = 0; i < rope.frequency.size(); ++i) rope.frequency[i] /= divisors.w[i];
    rope.magnitude = std::sqrt(1 + std::log(trained / original) / std::log(original));
  }
  rope.magnitude = number("rope.scaling.attn_factor", rope.magnitude);
  return rope;
}

ReferenceLayer ReferenceDecoder::make_layer(int i) const {
  const std::string blk = "blk." + std::to_string(i) + ".";
  ReferenceLayer layer;
  layer.window = slides(i) ? int(number("attention.sliding_window", 0)) : 0;
  layer.rope = make_rope(slides(i));
  layer.attn_norm = tensor(blk + "attn_norm.weight");
  layer.q = tensor(blk + "attn_q.weight");
  layer.k = tensor(blk + "attn_k.weight");
  layer.v = tensor(blk + "attn_v.weight");
  if (const Matrix fused = tensor(blk + "attn_qkv.weight")) {
    const int q = n_heads_ * head_dim_, kv = n_kv_heads_ * head_dim_;
    layer.q = fused.part(0, q);
    layer.k = fused.part(q, kv);
    layer.v = fused.part(q + kv, kv);
  }
  layer.o = tensor(blk + "attn_output.weight");
  layer.q_bias = tensor(blk + "attn_q.bias");
  layer.k_bias = tensor(blk + "attn_k.bias");
  layer.v_bias = tensor(blk + "attn_v.bias");
  layer.o_bias = tensor(blk + "attn_output.bias");
  layer.q_norm = tensor(blk + "attn_q_norm.weight");
  layer.k_norm = tensor(blk + "attn_k_norm.weight");
  layer.sinks = tensor(blk + "attn_sinks.weight");
  if (arch_ == "gpt-oss") {
    layer.ffn_norm = tensor(blk + "post_attention_norm.weight");
  } else {
    layer.ffn_norm = tensor(blk + "ffn_norm.weight");
    layer.attn_post_norm = tensor(blk + "post_attention_norm.weight");
    layer.ffn_post_norm = tensor(blk + "post_ffw_norm.weight");
  }
  layer.router = tensor(blk + "ffn_gate_inp.weight");
  layer.router_bias = tensor(blk + "ffn_gate_inp.bias");
  const std::string kind = layer.router ? "_exps" : "";
  layer.gate = experts(blk + "ffn_gate" + kind + ".weight");
  layer.up = experts(blk + "ffn_up" + kind + ".weight");
  layer.down = experts(blk + "ffn_down" + kind + ".weight");
  layer.gate_bias = experts(blk + "ffn_gate" + kind + ".bias");
  layer.up_bias = experts(blk + "ffn_up" + kind + ".bias");
  layer.down_bias = experts(blk + "ffn_down" + kind + ".bias");
  if (layer.gate.empty()) {  // phi3 keeps gate above up
    const Matrix both = layer.up[0];
    layer.gate = {both.part(0, both.rows / 2)};
    layer.up = {both.part(both.rows / 2, both.rows / 2)};
  }
  return layer;
}

ReferenceDecoder::ReferenceDecoder(const gguf::File& file, int n_ctx)
    : file_(file), arch_(require_ok(file.str("general.architecture"))) {
  n_layers_ = int(number("block_count", 0));
  d_model_ = int(number("embedding_length", 0));
  n_heads_ = int(number("attention.head_count", 0));
  n_kv_heads_ = int(number("attention.head_count_kv", n_heads_));
  head_dim_ = int(number("attention.key_length", d_model_ / double(n_heads_)));
  n_ctx_ = n_ctx > 0 ? n_ctx : int(number("context_length", 0));
  top_k_ = int(number("expert_used_count", 0));
  eps_ = number("attention.layer_norm_rms_epsilon", 0);
  attn_scale_ = number("attention.scale", 1 / std::sqrt(double(head_dim_)));
  embedding_ = tensor("token_embd.weight");
  output_norm_ = tensor("output_norm.weight");
  output_ = tensor("output.weight");
  if (!output_) output_ = embedding_;
  for (int i = 0; i < n_layers_; ++i) layers_.push_back(make_layer(i));
}

}  // namespace lm::test
