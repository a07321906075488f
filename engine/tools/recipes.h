// engine/tools/recipes.h — which number format each tensor of a model gets under a name like
// "q4_K_M". The rules are those of upstream's llama-quantize (llama.cpp, src/llama-quant.cpp),
// written as a table.
#pragma once
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "engine/core/result.h"
#include "quant/dtype.h"

namespace lm {

// Which layers get a better format.
enum class Layers : uint8_t {
  none,
  all,
  more_bits,  // the first and last eighth, and every third between
  first_eighth,
  first_16th,
  first_4,
  first_2,
};

struct Upgrade {
  Layers layers = Layers::none;
  DType type = DType::f32;
};

struct Recipe {
  std::string_view name;
  DType base;
  uint32_t file_type = 1024;    // general.file_type
  DType output = DType::q6_K;   // the output matrix, and the table that is one
  DType embedding = base;       // a table of its own
  Upgrade v{}, v_rest{};        // attn_v: the first that applies
  Upgrade down{}, down_rest{};  // ffn_down, of experts too
  Upgrade attn_out{};
  Upgrade qkv{};              // where one matrix holds all three
  Upgrade v_grouped{};        // attn_v where 4 heads or more share a KV head
  Upgrade down_plain{};       // ffn_down without an importance matrix
  Upgrade down_weighted{};    // ffn_down with one
  Upgrade out_of_8{};         // attn_output of a model of 8 experts
  bool experts_only = false;  // base is for experts; every other matrix is q8_0
};

struct RecipeModel {
  int n_layers = 0, heads_per_kv_head = 1, n_experts = 0;
  bool tied = true;
  bool importance = false;  // an importance matrix is used
};

// general.file_type of a file that is mostly in this format; 1024, "guessed", for what the field
// has no number for. (llama.h, enum llama_ftype)
uint32_t file_type(DType type);

std::vector<std::string_view> recipe_names();
// Whether every type of a recipe has an encoder.
bool can_write_recipe(std::string_view name);
// A recipe, or the name of a number format (any case): then every matrix has it.
Result<Recipe> find_recipe(std::string_view name);

// `type`, or where its blocks do not divide a row the next smaller ones that do; at last f16.
DType dividing_type(DType type, int64_t cols);

// The format of one tensor. Vectors, norms and routers stay f32; where a row is no whole number of
// blocks, the format is the nearest that divides it.
DType recipe_type(const Recipe& recipe, const RecipeModel& model, std::string_view name,
                  std::span<const int64_t> dims);

}  // namespace lm
