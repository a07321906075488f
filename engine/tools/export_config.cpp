#include "engine/tools/export_config.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <tuple>

#include "engine/core/text.h"
#include "engine/tools/convert_order.h"
#include "engine/tools/hf_config.h"
#include "quant/decode.h"

namespace lm::hf {
namespace {

// The double that is written as the float is: 1e-05f is 1e-05, not 9.99999974738e-06.
double as_written(float x) {
  char text[64];
  const std::to_chars_result end = std::to_chars(text, text + sizeof text, x);
  return parse_double(std::string_view(text, size_t(end.ptr - text))).value_or(double(x));
}

std::string_view model_type(const Family& family) {
  constexpr std::pair<std::string_view, std::string_view> kTypes[] = {
      {"LlamaForCausalLM", "llama"},        {"MistralForCausalLM", "mistral"},
      {"MixtralForCausalLM", "mixtral"},    {"Qwen2ForCausalLM", "qwen2"},
      {"Qwen3ForCausalLM", "qwen3"},        {"Qwen3MoeForCausalLM", "qwen3_moe"},
      {"Gemma3ForCausalLM", "gemma3_text"}, {"Phi3ForCausalLM", "phi3"},
      {"GptOssForCausalLM", "gpt_oss"}};
  for (const auto& [hf, type] : kTypes) {
    if (hf == family.hf) return type;
  }
  return family.gguf;
}

std::vector<float> numbers_of(const gguf::File& file, std::string_view name) {
  const gguf::TensorInfo* info = file.tensor(name);
  if (info == nullptr) return {};
  std::vector<float> numbers(size_t(info->dims[0]), 0.0f);
  decode(info->dtype, info->bytes.data(), numbers.data(), info->dims[0]);
  return numbers;
}

// Llama 3's four numbers, from the factors that they give.
Result<Json> llama3_scaling(const gguf::File& file, const RopeSpec& rope) {
  const std::vector<float> factors = numbers_of(file, "rope_freqs.weight");
  RopeConfig guess;
  guess.kind = RopeConfig::Kind::llama3;
  guess.dims = rope.dims;
  guess.theta = as_written(rope.theta);
  guess.n_ctx_original = 8192;
  guess.factor = factors.empty() ? 1 : double(*std::ranges::max_element(factors));
  if (llama3_rope_factors(guess) != factors) {
    return Error{ErrorCode::unsupported,
                 "rope_freqs.weight: expected the factors of Llama 3, found others, which "
                 "config.json has no words for"};
  }
  return Json{{"rope_type", "llama3"},
              {"factor", guess.factor},
              {"low_freq_factor", 1.0},
              {"high_freq_factor", 4.0},
              {"original_max_position_embeddings", 8192}};
}

Result<Json> rope_scaling(const gguf::File& file, const RopeSpec& rope) {
  using Scaling = RopeSpec::Scaling;
  switch (rope.scaling) {
    case Scaling::none:
      return Json();
    case Scaling::llama3:
      return llama3_scaling(file, rope);
    case Scaling::linear:
      return Json{{"rope_type", "linear"}, {"factor", as_written(rope.factor)}};
    case Scaling::yarn:
      return Json{{"rope_type", "yarn"},
                  {"factor", as_written(rope.factor)},
                  {"beta_fast", as_written(rope.yarn_beta_fast)},
                  {"beta_slow", as_written(rope.yarn_beta_slow)},
                  {"original_max_position_embeddings", rope.n_ctx_original}};
    case Scaling::longrope:
      return Json{{"type", "longrope"},
                  {"long_factor", numbers_of(file, "rope_factors_long.weight")},
                  {"short_factor", numbers_of(file, "rope_factors_short.weight")},
                  {"original_max_position_embeddings", rope.n_ctx_original}};
  }
  return Json();
}

Result<Json> new_config(const gguf::File& file, const ModelConfig& config, const Family& family) {
  const LayerSpec& layer = config.layers.front();
  const AttnSpec& attn = layer.attn;
  const MoeSpec& moe = layer.ffn.moe;
  Json json = {{"architectures", {family.hf}},
               {"model_type", model_type(family)},
               {"hidden_size", config.d_model},
               {"intermediate_size", moe.n_experts > 0 ? moe.d_ff : layer.ffn.d_ff},
               {"num_hidden_layers", config.layers.size()},
               {"num_attention_heads", attn.n_heads},
               {"num_key_value_heads", attn.n_kv_heads},
               {"head_dim", attn.head_dim},
               {"vocab_size", config.n_vocab},
               {"max_position_embeddings", config.n_ctx_train},
               {"rms_norm_eps", as_written(config.norm_eps)},
               {"rope_theta", as_written(attn.rope.theta)},
               {"tie_word_embeddings", file.tensor("output.weight") == nullptr},
               {"torch_dtype", "float16"}};
  json[family.activation == "silu" ? "hidden_act" : "hidden_activation"] = family.activation;
  if (moe.n_experts > 0) {
    json[std::string(family.n_experts_key)] = moe.n_experts;
    json[std::string(family.d_ff_expert_key)] = moe.d_ff;
    json["num_experts_per_tok"] = moe.top_k;
    json["norm_topk_prob"] = moe.normalise;
  }
  if (attn.window > 0) json["sliding_window"] = attn.window;
  if (attn.rope.dims != attn.head_dim)
    json["partial_rotary_factor"] = double(attn.rope.dims) / attn.head_dim;
  Json scaling = LM_TRY(rope_scaling(file, attn.rope));
  if (!scaling.is_null()) json["rope_scaling"] = std::move(scaling);
  return json;
}

// A regular expression that matches one name.
std::string exactly(const std::string& name) {
  std::string out = "^";
  for (const char c : name) out += c == '.' ? std::string("\\.") : std::string(1, c);
  return out + "$";
}

using Shape = std::tuple<int, int64_t, bool>;  // bits, group (-1: a row), symmetric

Shape shape_of(const ExportItem& item, int64_t default_group) {
  const GptqShape& s = *item.gptq;
  const bool whole = s.group >= item.cols && s.group != default_group;
  return {s.bits, whole ? -1 : s.group, s.symmetric};
}

}  // namespace

Json gptq_config(const std::vector<ExportItem>& items) {
  std::map<int64_t, size_t> groups;
  for (const ExportItem& item : items) {
    if (item.gptq && item.gptq->group < item.cols) ++groups[item.gptq->group];
  }
  const auto common = std::ranges::max_element(groups, {}, [](const auto& g) { return g.second; });
  const int64_t group = groups.empty() ? -1 : common->first;
  std::map<Shape, size_t> shapes;
  bool order = false, head = false;
  for (const ExportItem& item : items) {
    if (!item.gptq) continue;
    ++shapes[shape_of(item, group)];
    order = order || !item.cols_from.empty();
    head = head || item.stem() == "lm_head";
  }
  if (shapes.empty()) return Json();
  const Shape most =
      std::ranges::max_element(shapes, {}, [](const auto& s) { return s.second; })->first;
  const auto& [bits, size, symmetric] = most;
  Json json = {{"quant_method", "gptq"}, {"checkpoint_format", "gptq_v2"},
               {"bits", bits},           {"group_size", size},
               {"sym", symmetric},       {"desc_act", order},
               {"lm_head", head}};
  Json dynamic = Json::object();
  for (const ExportItem& item : items) {
    if (!item.is_module || item.stem() == "lm_head") continue;
    if (!item.gptq) {
      dynamic["-:" + exactly(item.stem())] = Json::object();
    } else if (const Shape shape = shape_of(item, group); shape != most) {
      dynamic["+:" + exactly(item.stem())] = {{"bits", std::get<0>(shape)},
                                              {"group_size", std::get<1>(shape)},
                                              {"sym", std::get<2>(shape)}};
    }
  }
  if (!dynamic.empty()) json["dynamic"] = std::move(dynamic);
  return json;
}

Result<Json> export_config(const gguf::File& file, const ModelConfig& config, const Family& family,
                           const Json& quantization) {
  Json json;
  if (file.value(kImportConfigKey) != nullptr) {
    json = LM_TRY(parse_json(LM_TRY(file.str(kImportConfigKey))));
    if (!json.is_object()) {
      return Error{ErrorCode::bad_file, concat(kImportConfigKey, ": expected a JSON object")};
    }
    json.erase("compression_config");
  } else {
    json = LM_TRY(new_config(file, config, family));
  }
  json.erase("quantization_config");
  if (!quantization.is_null()) json["quantization_config"] = quantization;
  return json;
}

}  // namespace lm::hf
