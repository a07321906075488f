#include "engine/tools/convert_families.h"

#include <algorithm>

namespace lm::hf {
namespace {

using enum Dim;
using enum Transform;
constexpr bool kOptional = true;

// clang-format off
constexpr TensorRule kHalvesAttention[] = {  // rope on (i, i + d/2), as GGUF's "neox" families keep it
  {"model.layers.{L}.self_attn.q_proj.weight", "blk.{L}.attn_q.weight",      {q, d_model}},
  {"model.layers.{L}.self_attn.k_proj.weight", "blk.{L}.attn_k.weight",      {kv, d_model}},
  {"model.layers.{L}.self_attn.v_proj.weight", "blk.{L}.attn_v.weight",      {kv, d_model}},
  {"model.layers.{L}.self_attn.o_proj.weight", "blk.{L}.attn_output.weight", {d_model, q}},
};

constexpr TensorRule kQkvBias[] = {
  {"model.layers.{L}.self_attn.q_proj.bias",   "blk.{L}.attn_q.bias",        {q}},
  {"model.layers.{L}.self_attn.k_proj.bias",   "blk.{L}.attn_k.bias",        {kv}},
  {"model.layers.{L}.self_attn.v_proj.bias",   "blk.{L}.attn_v.bias",        {kv}},
};

constexpr TensorRule kSinks[] = {            // gpt-oss
  {"model.layers.{L}.self_attn.o_proj.bias",   "blk.{L}.attn_output.bias",   {d_model}},
  {"model.layers.{L}.self_attn.sinks",         "blk.{L}.attn_sinks.weight",  {n_heads}},
};

constexpr TensorRule kQkNorm[] = {
  {"model.layers.{L}.self_attn.q_norm.weight", "blk.{L}.attn_q_norm.weight", {head_dim}},
  {"model.layers.{L}.self_attn.k_norm.weight", "blk.{L}.attn_k_norm.weight", {head_dim}},
};

constexpr TensorRule kGemmaQkNorm[] = {
  {"model.layers.{L}.self_attn.q_norm.weight", "blk.{L}.attn_q_norm.weight", {head_dim},          add_one},
  {"model.layers.{L}.self_attn.k_norm.weight", "blk.{L}.attn_k_norm.weight", {head_dim},          add_one},
};

constexpr TensorRule kPairsAttention[] = {   // rope on (2i, 2i + 1): GGUF's "llama"
  {"model.layers.{L}.self_attn.q_proj.weight", "blk.{L}.attn_q.weight",      {q, d_model},        rope_pairs_q},
  {"model.layers.{L}.self_attn.q_proj.bias",   "blk.{L}.attn_q.bias",        {q},                 rope_pairs_q, kOptional},
  {"model.layers.{L}.self_attn.k_proj.weight", "blk.{L}.attn_k.weight",      {kv, d_model},       rope_pairs_k},
  {"model.layers.{L}.self_attn.k_proj.bias",   "blk.{L}.attn_k.bias",        {kv},                rope_pairs_k, kOptional},
  {"model.layers.{L}.self_attn.v_proj.weight", "blk.{L}.attn_v.weight",      {kv, d_model}},
  {"model.layers.{L}.self_attn.v_proj.bias",   "blk.{L}.attn_v.bias",        {kv},                copy, kOptional},
  {"model.layers.{L}.self_attn.o_proj.weight", "blk.{L}.attn_output.weight", {d_model, q}},
  {"model.layers.{L}.self_attn.o_proj.bias",   "blk.{L}.attn_output.bias",   {d_model},           copy, kOptional},
};

constexpr TensorRule kFusedAttention[] = {   // phi3
  {"model.layers.{L}.self_attn.qkv_proj.weight", "blk.{L}.attn_qkv.weight",  {qkv, d_model}},
  {"model.layers.{L}.self_attn.o_proj.weight", "blk.{L}.attn_output.weight", {d_model, q}},
};

constexpr TensorRule kFrame[] = {            // around the branches
  {"model.embed_tokens.weight",                         "token_embd.weight",        {n_vocab, d_model}},
  {"model.norm.weight",                                 "output_norm.weight",       {d_model}},
  {"lm_head.weight",                                    "output.weight",            {n_vocab, d_model}},
  {"model.layers.{L}.input_layernorm.weight",           "blk.{L}.attn_norm.weight", {d_model}},
  {"model.layers.{L}.post_attention_layernorm.weight",  "blk.{L}.ffn_norm.weight",  {d_model}},
};

constexpr TensorRule kGemmaFrame[] = {
  {"model.embed_tokens.weight",                         "token_embd.weight",        {n_vocab, d_model}},
  {"model.norm.weight",                                 "output_norm.weight",       {d_model},              add_one},
  {"lm_head.weight",                                    "output.weight",            {n_vocab, d_model}},
  {"model.layers.{L}.input_layernorm.weight",           "blk.{L}.attn_norm.weight", {d_model},              add_one},
  {"model.layers.{L}.post_attention_layernorm.weight",  "blk.{L}.post_attention_norm.weight", {d_model},    add_one},
  {"model.layers.{L}.pre_feedforward_layernorm.weight", "blk.{L}.ffn_norm.weight",  {d_model},              add_one},
  {"model.layers.{L}.post_feedforward_layernorm.weight", "blk.{L}.post_ffw_norm.weight", {d_model},         add_one},
};

constexpr TensorRule kGptOssFrame[] = {      // GGUF's name for its second norm differs from the others'
  {"model.embed_tokens.weight",                         "token_embd.weight",        {n_vocab, d_model}},
  {"model.norm.weight",                                 "output_norm.weight",       {d_model}},
  {"lm_head.weight",                                    "output.weight",            {n_vocab, d_model}},
  {"model.layers.{L}.input_layernorm.weight",           "blk.{L}.attn_norm.weight", {d_model}},
  {"model.layers.{L}.post_attention_layernorm.weight",  "blk.{L}.post_attention_norm.weight", {d_model}},
};

constexpr TensorRule kDenseFfn[] = {
  {"model.layers.{L}.mlp.gate_proj.weight", "blk.{L}.ffn_gate.weight", {d_ff, d_model}},
  {"model.layers.{L}.mlp.gate_proj.bias",   "blk.{L}.ffn_gate.bias",   {d_ff},                    copy, kOptional},
  {"model.layers.{L}.mlp.up_proj.weight",   "blk.{L}.ffn_up.weight",   {d_ff, d_model}},
  {"model.layers.{L}.mlp.up_proj.bias",     "blk.{L}.ffn_up.bias",     {d_ff},                    copy, kOptional},
  {"model.layers.{L}.mlp.down_proj.weight", "blk.{L}.ffn_down.weight", {d_model, d_ff}},
  {"model.layers.{L}.mlp.down_proj.bias",   "blk.{L}.ffn_down.bias",   {d_model},                 copy, kOptional},
};

constexpr TensorRule kFusedFfn[] = {         // phi3: gate above up
  {"model.layers.{L}.mlp.gate_up_proj.weight", "blk.{L}.ffn_up.weight",   {gate_up, d_model}},
  {"model.layers.{L}.mlp.down_proj.weight",    "blk.{L}.ffn_down.weight", {d_model, d_ff}},
};

constexpr TensorRule kMixtralFfn[] = {
  {"model.layers.{L}.block_sparse_moe.gate.weight",           "blk.{L}.ffn_gate_inp.weight",  {n_experts, d_model}},
  {"model.layers.{L}.block_sparse_moe.experts.{E}.w1.weight", "blk.{L}.ffn_gate_exps.weight", {d_ff_expert, d_model}},
  {"model.layers.{L}.block_sparse_moe.experts.{E}.w3.weight", "blk.{L}.ffn_up_exps.weight",   {d_ff_expert, d_model}},
  {"model.layers.{L}.block_sparse_moe.experts.{E}.w2.weight", "blk.{L}.ffn_down_exps.weight", {d_model, d_ff_expert}},
};

constexpr TensorRule kQwenMoeFfn[] = {
  {"model.layers.{L}.mlp.gate.weight",                  "blk.{L}.ffn_gate_inp.weight",  {n_experts, d_model}},
  {"model.layers.{L}.mlp.experts.{E}.gate_proj.weight", "blk.{L}.ffn_gate_exps.weight", {d_ff_expert, d_model}},
  {"model.layers.{L}.mlp.experts.{E}.up_proj.weight",   "blk.{L}.ffn_up_exps.weight",   {d_ff_expert, d_model}},
  {"model.layers.{L}.mlp.experts.{E}.down_proj.weight", "blk.{L}.ffn_down_exps.weight", {d_model, d_ff_expert}},
};

constexpr TensorRule kGptOssFfn[] = {
  {"model.layers.{L}.mlp.router.weight",               "blk.{L}.ffn_gate_inp.weight",  {n_experts, d_model}},
  {"model.layers.{L}.mlp.router.bias",                 "blk.{L}.ffn_gate_inp.bias",    {n_experts}},
  {"model.layers.{L}.mlp.experts.gate_up_proj_blocks", "blk.{L}.ffn_gate_exps.weight", {n_experts, gate_up_expert, d_model}, mxfp4_even, kOptional},
  {"model.layers.{L}.mlp.experts.gate_up_proj_blocks", "blk.{L}.ffn_up_exps.weight",   {n_experts, gate_up_expert, d_model}, mxfp4_odd, kOptional},
  {"model.layers.{L}.mlp.experts.down_proj_blocks",    "blk.{L}.ffn_down_exps.weight", {n_experts, d_model, d_ff_expert},    mxfp4, kOptional},
  {"model.layers.{L}.mlp.experts.gate_up_proj",        "blk.{L}.ffn_gate_exps.weight", {n_experts, d_model, gate_up_expert}, transpose_even},
  {"model.layers.{L}.mlp.experts.gate_up_proj",        "blk.{L}.ffn_up_exps.weight",   {n_experts, d_model, gate_up_expert}, transpose_odd},
  {"model.layers.{L}.mlp.experts.down_proj",           "blk.{L}.ffn_down_exps.weight", {n_experts, d_ff_expert, d_model},    transpose},
  {"model.layers.{L}.mlp.experts.gate_up_proj_bias",   "blk.{L}.ffn_gate_exps.bias",   {n_experts, gate_up_expert},          even},
  {"model.layers.{L}.mlp.experts.gate_up_proj_bias",   "blk.{L}.ffn_up_exps.bias",     {n_experts, gate_up_expert},          odd},
  {"model.layers.{L}.mlp.experts.down_proj_bias",      "blk.{L}.ffn_down_exps.bias",   {n_experts, d_model}},
};

constexpr Family kFamilies[] = {
  {.hf = "LlamaForCausalLM", .gguf = "llama", .rules = {kFrame, kPairsAttention, kDenseFfn}},
  {.hf = "MistralForCausalLM", .gguf = "llama", .rules = {kFrame, kPairsAttention, kDenseFfn}, .windows = Windows::all},
  {.hf = "MixtralForCausalLM", .gguf = "llama", .rules = {kFrame, kPairsAttention, kMixtralFfn},
   .n_experts_key = "num_local_experts", .d_ff_expert_key = "intermediate_size", .windows = Windows::all, .theta = 1e6},
  {.hf = "Qwen2ForCausalLM", .gguf = "qwen2", .rules = {kFrame, kHalvesAttention, kQkvBias, kDenseFfn}, .windows = Windows::if_used},
  {.hf = "Qwen3ForCausalLM", .gguf = "qwen3", .rules = {kFrame, kHalvesAttention, kQkNorm, kDenseFfn}, .windows = Windows::if_used},
  {.hf = "Qwen3MoeForCausalLM", .gguf = "qwen3moe", .rules = {kFrame, kHalvesAttention, kQkNorm, kQwenMoeFfn},
   .n_experts_key = "num_experts", .d_ff_expert_key = "moe_intermediate_size", .windows = Windows::if_used, .normalise_experts = false},
  {.hf = "Gemma3ForCausalLM", .gguf = "gemma3", .rules = {kGemmaFrame, kHalvesAttention, kGemmaQkNorm, kDenseFfn},
   .activation = "gelu_pytorch_tanh", .windows = Windows::alternate, .period = 6,
   .n_heads = 8, .n_kv_heads = 4, .head_dim = 256, .n_vocab = 262208, .n_ctx = 131072,
   .theta = 1e6, .theta_window = 1e4, .tied = true},
  {.hf = "Gemma3ForConditionalGeneration", .gguf = "gemma3", .rules = {kGemmaFrame, kHalvesAttention, kGemmaQkNorm, kDenseFfn},
   .activation = "gelu_pytorch_tanh", .windows = Windows::alternate, .period = 6,
   .n_heads = 8, .n_kv_heads = 4, .head_dim = 256, .n_vocab = 262208, .n_ctx = 131072,
   .theta = 1e6, .theta_window = 1e4, .tied = true, .nested = true},
  {.hf = "Phi3ForCausalLM", .gguf = "phi3", .rules = {kFrame, kFusedAttention, kFusedFfn}, .windows = Windows::all},
  {.hf = "GptOssForCausalLM", .gguf = "gpt-oss", .rules = {kGptOssFrame, kHalvesAttention, kQkvBias, kSinks, kGptOssFfn},
   .n_experts_key = "num_local_experts", .d_ff_expert_key = "intermediate_size", .windows = Windows::alternate, .period = 2,
   .head_dim = 64, .theta = 1.5e5, .yarn_truncates = false},
};
// clang-format on

}  // namespace

std::span<const Family> families() {
  return kFamilies;
}

const Family* find_family(std::string_view hf) {
  const auto* it = std::ranges::find(kFamilies, hf, &Family::hf);
  return it == std::end(kFamilies) ? nullptr : it;
}

}  // namespace lm::hf
