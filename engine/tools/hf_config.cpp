#include "engine/tools/hf_config.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "engine/core/text.h"
#include "engine/tools/hf_json.h"

namespace lm::hf {
namespace {

// Far above every published model, and small enough that no product of three of them overflows.
constexpr int64_t kMaxWidth = 1 << 20, kMaxLayers = 1024, kMaxHeads = 4096, kMaxExperts = 4096;
constexpr int64_t kMaxVocab = 1 << 24, kMaxContext = 1 << 30;
constexpr std::string_view kFile = "config.json";

Error unsupported(std::string message) {
  return Error{ErrorCode::unsupported, concat(kFile, ": ", message)};
}

// A fallback for what transformers knows by itself; 0: the key is required.
std::optional<int64_t> assumed(int64_t value) {
  return value != 0 ? std::optional<int64_t>(value) : std::nullopt;
}

Result<const Family*> family_of(const SortedJson& json) {
  const Object root(&json, kFile);
  const SortedJson* names = root.find("architectures");
  if (names == nullptr || !names->is_array() || names->size() != 1 || !(*names)[0].is_string()) {
    return root.wrong("architectures", "a list of one name");
  }
  const auto& name = (*names)[0].get_ref<const std::string&>();
  const Family* family = find_family(name);
  if (family != nullptr) return family;
  std::string known;
  for (const Family& one : families()) known += concat(known.empty() ? "" : ", ", one.hf);
  return unsupported(concat("expected an architecture among ", known, "; found ", printable(name)));
}

Status read_sizes(const Object& in, Config& c) {
  const Family& family = *c.family;
  c.d_model = LM_TRY(in.integer("hidden_size", 1, kMaxWidth));
  c.d_ff = LM_TRY(in.integer("intermediate_size", 1, kMaxWidth));
  c.n_layers = LM_TRY(in.integer("num_hidden_layers", 1, kMaxLayers));
  c.n_heads = LM_TRY(in.integer("num_attention_heads", 1, kMaxHeads, assumed(family.n_heads)));
  c.n_kv_heads = LM_TRY(in.integer("num_key_value_heads", 1, kMaxHeads,
                                   family.n_kv_heads != 0 ? family.n_kv_heads : c.n_heads));
  const int64_t head_dim = family.head_dim != 0 ? family.head_dim : c.d_model / c.n_heads;
  c.head_dim = LM_TRY(in.integer("head_dim", 2, kMaxWidth, head_dim));
  c.n_vocab = LM_TRY(in.integer("vocab_size", 1, kMaxVocab, assumed(family.n_vocab)));
  c.n_ctx = LM_TRY(in.integer("max_position_embeddings", 1, kMaxContext, assumed(family.n_ctx)));
  c.norm_eps = LM_TRY(in.number("rms_norm_eps", 0, 1, 1e-6));
  c.tied = LM_TRY(in.boolean("tie_word_embeddings", family.tied));
  if (c.n_heads % c.n_kv_heads != 0) {
    return in.wrong("num_key_value_heads", concat("a divisor of ", c.n_heads, " heads"));
  }
  if (!in.has("head_dim") && family.head_dim == 0 && c.d_model % c.n_heads != 0) {
    return in.wrong("hidden_size", concat("a multiple of ", c.n_heads, " heads"));
  }
  if (c.head_dim < 2 || c.head_dim % 2 != 0) return in.wrong("head_dim", "an even number");
  return ok();
}

Status read_experts(const Object& in, Config& c) {
  const Family& family = *c.family;
  if (family.n_experts_key.empty()) return ok();
  c.n_experts = LM_TRY(in.integer(family.n_experts_key, 1, kMaxExperts));
  c.top_k = LM_TRY(in.integer("num_experts_per_tok", 1, c.n_experts));
  c.d_ff_expert = LM_TRY(in.integer(family.d_ff_expert_key, 1, kMaxWidth));
  if (LM_TRY(in.integer("decoder_sparse_step", 0, kMaxLayers, 1)) != 1) {
    return unsupported(
        "expected experts in every layer, found a \"decoder_sparse_step\" other than 1");
  }
  const SortedJson* dense = in.find("mlp_only_layers");
  if (dense != nullptr && !dense->empty()) {
    return unsupported("expected experts in every layer, found \"mlp_only_layers\"");
  }
  return ok();
}

// Features that change what the forward pass computes, and that no GGUF of these families has.
Status check_unusual(const Object& in, const Family& family) {
  const std::string_view key = in.has("hidden_activation") ? "hidden_activation" : "hidden_act";
  const std::string activation = LM_TRY(in.str(key, std::string(family.activation)));
  if (activation != family.activation) {
    return unsupported(
        concat("expected \"", key, "\" ", family.activation, ", found ", printable(activation)));
  }
  for (const std::string_view cap : {"attn_logit_softcapping", "final_logit_softcapping"}) {
    if (in.has(cap)) return unsupported(concat("expected no \"", cap, "\", found one"));
  }
  if (LM_TRY(in.number("swiglu_limit", 0, 1e9, 7)) != 7) {
    return unsupported("expected \"swiglu_limit\" 7, found another");
  }
  return ok();
}

// Which layers have a window, from the list that newer files carry: the period of full ones.
Status read_layer_types(const Object& in, Config& c) {
  const SortedJson& types = *in.find("layer_types");
  if (!types.is_array() || int64_t(types.size()) != c.n_layers) {
    return in.wrong("layer_types", concat("a list of ", c.n_layers, " names"));
  }
  std::vector<bool> full;
  for (const SortedJson& type : types) {
    if (type != "full_attention" && type != "sliding_attention") {
      return in.wrong("layer_types", "a list of full_attention and sliding_attention");
    }
    full.push_back(type == "full_attention");
  }
  int64_t first_full = 0, n_full = 0;
  for (int64_t i = c.n_layers - 1; i >= 0; --i) {
    if (full[size_t(i)]) first_full = i, ++n_full;
  }
  if (n_full == c.n_layers) {
    c.window = 0;
    return ok();
  }
  // All windowed: any period beyond the last layer says so where the family has one of its own.
  const int64_t period = n_full == 0 ? c.n_layers + 1 : first_full + 1;
  for (int64_t i = 0; i < c.n_layers; ++i) {
    if (full[size_t(i)] != ((i + 1) % period == 0)) {
      return unsupported(
          "expected every so many layers to see everything, found irregular \"layer_types\"");
    }
  }
  c.window_period = n_full == 0 && c.family->period == 0 ? 0 : period;
  return ok();
}

Status read_windows(const Object& in, Config& c) {
  c.window = LM_TRY(in.integer("sliding_window", 0, kMaxContext, 0));
  if (c.family->windows == Windows::if_used) {
    if (LM_TRY(in.boolean("use_sliding_window", false))) {
      return unsupported("expected \"use_sliding_window\" false, found true");
    }
    c.window = 0;
  }
  if (c.window == 0) return ok();
  if (c.family->windows == Windows::none) {
    return unsupported("expected full attention, found \"sliding_window\"");
  }
  if (in.has("layer_types")) return read_layer_types(in, c);
  if (c.family->windows == Windows::alternate) {
    c.window_period = LM_TRY(in.integer("sliding_window_pattern", 1, kMaxLayers, c.family->period));
  }
  return ok();
}

Result<RopeConfig::Kind> rope_kind(const Object& rope) {
  const std::string_view key = rope.has("rope_type") ? "rope_type" : "type";
  const std::string name = LM_TRY(rope.str(key, "default"));
  using Kind = RopeConfig::Kind;
  constexpr std::pair<std::string_view, Kind> kKinds[] = {
      {"default", Kind::none}, {"linear", Kind::linear},     {"llama3", Kind::llama3},
      {"yarn", Kind::yarn},    {"longrope", Kind::longrope}, {"su", Kind::longrope}};
  for (const auto& [known, kind] : kKinds) {
    if (name == known) return kind;
  }
  return unsupported(concat(
      "expected rope scaling default, linear, llama3, yarn or longrope, found ", printable(name)));
}

Result<std::vector<float>> rope_factors(const Object& rope, std::string_view key, int64_t n) {
  const SortedJson* list = rope.find(key);
  const std::string expected = concat("a list of ", n, " positive numbers");
  if (list == nullptr || !list->is_array() || int64_t(list->size()) != n)
    return rope.wrong(key, expected);
  std::vector<float> factors;
  for (const SortedJson& value : *list) {
    if (!value.is_number() || !(value.get<double>() > 0) || !(value.get<double>() < 1e9)) {
      return rope.wrong(key, expected);
    }
    factors.push_back(value.get<float>());
  }
  return factors;
}

Status read_rope_scaling(const Object& in, const Object& rope, Config& c) {
  RopeConfig& r = c.rope;
  using Kind = RopeConfig::Kind;
  r.kind = LM_TRY(rope_kind(rope));
  if (r.kind == Kind::none) return ok();
  for (const std::string_view key : {"mscale", "mscale_all_dim", "short_mscale", "long_mscale"}) {
    if (rope.has(key))
      return unsupported(concat("expected rope scaling without \"", key, "\", found it"));
  }
  const Object& original = rope.has("original_max_position_embeddings") ? rope : in;
  const int64_t assumed_original = r.kind == Kind::llama3 ? 8192 : c.n_ctx;
  r.n_ctx_original = LM_TRY(
      original.integer("original_max_position_embeddings", 2, kMaxContext, assumed_original));
  if (r.kind == Kind::longrope) {
    r.long_factors = LM_TRY(rope_factors(rope, "long_factor", r.dims / 2));
    r.short_factors = LM_TRY(rope_factors(rope, "short_factor", r.dims / 2));
    r.factor = double(c.n_ctx) / double(r.n_ctx_original);
    r.magnitude =
        r.factor > 1 ? std::sqrt(1 + std::log(r.factor) / std::log(double(r.n_ctx_original))) : 1;
    r.magnitude = LM_TRY(rope.number("attention_factor", 1e-3, 1e3, r.magnitude));
    return ok();
  }
  r.factor = LM_TRY(rope.number("factor", 1e-3, 1e6));
  if (r.kind == Kind::llama3) {
    r.low_freq_factor = LM_TRY(rope.number("low_freq_factor", 1e-3, 1e6, 1));
    r.high_freq_factor = LM_TRY(rope.number("high_freq_factor", 1e-3, 1e6, 4));
    if (r.high_freq_factor <= r.low_freq_factor) {
      return rope.wrong("high_freq_factor", "more than \"low_freq_factor\"");
    }
  }
  if (r.kind == Kind::yarn) {
    r.beta_fast = LM_TRY(rope.number("beta_fast", 1e-3, 1e6, 32));
    r.beta_slow = LM_TRY(rope.number("beta_slow", 1e-3, 1e6, 1));
    // GGUF's factor multiplies YaRN's own magnitude; the config's replaces it.
    const double own = 0.1 * std::log(std::max(1.0, r.factor)) + 1;
    r.magnitude = LM_TRY(rope.number("attention_factor", 1e-3, 1e3, own)) / own;
    if (LM_TRY(rope.boolean("truncate", true)) != c.family->yarn_truncates) {
      return unsupported(concat("expected yarn with \"truncate\" ",
                                c.family->yarn_truncates ? "true" : "false", ", found the other"));
    }
  }
  return ok();
}

Status read_rope(const Object& in, Config& c) {
  RopeConfig& r = c.rope;
  const Object given = in.object(in.has("rope_parameters") ? "rope_parameters" : "rope_scaling");
  // Newer files keep one set for full and one for windowed layers.
  const bool split = given.has("full_attention");
  const Object rope = split ? given.object("full_attention") : given;
  r.theta = LM_TRY(
      (rope.has("rope_theta") ? rope : in).number("rope_theta", 1.001, 1e15, c.family->theta));
  if (c.family->theta_window != 0) {
    const Object local = given.object("sliding_attention");
    r.theta_window = LM_TRY(in.number("rope_local_base_freq", 1.001, 1e15, c.family->theta_window));
    r.theta_window = LM_TRY(local.number("rope_theta", 1.001, 1e15, r.theta_window));
    if (LM_TRY(rope_kind(local)) != RopeConfig::Kind::none) {
      return unsupported("expected unscaled rope in layers with a window, found a scaling");
    }
  } else if (split) {
    return unsupported("expected one set of \"rope_parameters\", found one for each kind of layer");
  }
  const Object& partial = rope.has("partial_rotary_factor") ? rope : in;
  const double share = LM_TRY(partial.number("partial_rotary_factor", 0, 1, 1));
  r.dims = int64_t(double(c.head_dim) * share);
  if (r.dims < 2 || r.dims % 2 != 0) {
    return partial.wrong("partial_rotary_factor",
                         concat("a share of ", c.head_dim, " that is even"));
  }
  return read_rope_scaling(in, rope, c);
}

}  // namespace

Result<Config> read_hf_config(const SortedJson& json) {
  Config c;
  c.family = LM_TRY(family_of(json));
  const Object root(&json, kFile);
  const Object in = c.family->nested && root.has("text_config") ? root.object("text_config") : root;
  LM_TRY(check_unusual(in, *c.family));
  if (c.family->nested) LM_TRY(check_unusual(root, *c.family));
  LM_TRY(read_sizes(in, c));
  LM_TRY(read_experts(in, c));
  LM_TRY(read_windows(in, c));
  LM_TRY(read_rope(in, c));
  c.normalise_experts = LM_TRY(in.boolean("norm_topk_prob", c.family->normalise_experts));
  const double scalar = LM_TRY(in.number("query_pre_attn_scalar", 1e-3, 1e6, 0));
  if (scalar != 0 && c.family->windows == Windows::alternate) c.attn_scale = 1 / std::sqrt(scalar);
  return c;
}

std::vector<float> llama3_rope_factors(const RopeConfig& rope) {
  constexpr double kPi = 3.14159265358979323846;
  std::vector<float> factors;
  for (int64_t i = 0; i < rope.dims / 2; ++i) {
    const double wavelength = 2 * kPi * std::pow(rope.theta, 2.0 * double(i) / double(rope.dims));
    const double turns = double(rope.n_ctx_original) / wavelength;  // within the original context
    const double kept = std::clamp(
        (turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor), 0.0, 1.0);
    factors.push_back(float(1 / ((1 - kept) / rope.factor + kept)));
  }
  return factors;
}

void write_config(const Config& c, gguf::Writer& writer) {
  const auto key = [&](std::string_view name) { return concat(c.family->gguf, ".", name); };
  const auto count = [&](std::string_view name, int64_t n) {
    writer.set_u32(key(name), uint32_t(n));
  };
  const auto number = [&](std::string_view name, double x) { writer.set_f32(key(name), float(x)); };
  count("vocab_size", c.n_vocab);
  count("context_length", c.n_ctx);
  count("embedding_length", c.d_model);
  count("block_count", c.n_layers);
  count("feed_forward_length", c.d_ff);
  count("attention.head_count", c.n_heads);
  count("attention.head_count_kv", c.n_kv_heads);
  count("attention.key_length", c.head_dim);
  count("attention.value_length", c.head_dim);
  number("attention.layer_norm_rms_epsilon", c.norm_eps);
  if (c.attn_scale != 0) number("attention.scale", c.attn_scale);
  if (c.window != 0) count("attention.sliding_window", c.window);
  if (c.window != 0 && c.window_period != 0)
    count("attention.sliding_window_pattern", c.window_period);
  if (c.n_experts != 0) {
    count("expert_count", c.n_experts);
    count("expert_used_count", c.top_k);
    count("expert_feed_forward_length", c.d_ff_expert);
    if (!c.normalise_experts) writer.set_bool(key("expert_weights_norm"), false);
  }
  const RopeConfig& r = c.rope;
  count("rope.dimension_count", r.dims);
  number("rope.freq_base", r.theta);
  if (r.theta_window != 0) number("rope.freq_base_swa", r.theta_window);
  using Kind = RopeConfig::Kind;
  if (r.kind == Kind::linear || r.kind == Kind::yarn) {
    writer.set_str(key("rope.scaling.type"), r.kind == Kind::linear ? "linear" : "yarn");
    number("rope.scaling.factor", r.factor);
  }
  if (r.kind == Kind::longrope) writer.set_str(key("rope.scaling.type"), "longrope");
  if (r.kind == Kind::longrope || r.kind == Kind::yarn) {
    count("rope.scaling.original_context_length", r.n_ctx_original);
    if (r.kind == Kind::longrope || r.magnitude != 1)
      number("rope.scaling.attn_factor", r.magnitude);
  }
  if (r.kind == Kind::yarn) {
    number("rope.scaling.yarn_beta_fast", r.beta_fast);
    number("rope.scaling.yarn_beta_slow", r.beta_slow);
  }
}

}  // namespace lm::hf
