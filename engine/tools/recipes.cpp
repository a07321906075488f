#include "engine/tools/recipes.h"

#include <string>
#include <utility>

#include "engine/core/text.h"
#include "quant/encode.h"

namespace lm {
namespace {

constexpr Upgrade kQ5OfExperts = {Layers::all, DType::q5_K};

constexpr Recipe kRecipes[] = {
    {.name = "q2_K",
     .base = DType::q2_K,
     .file_type = 10,
     .v = {Layers::all, DType::q3_K},
     .down = {Layers::all, DType::q3_K},
     .attn_out = {Layers::all, DType::q3_K},
     .v_grouped = {Layers::all, DType::q4_K},
     .out_of_8 = kQ5OfExperts},
    {.name = "q2_K_S",
     .base = DType::q2_K,
     .file_type = 21,
     .down = {Layers::first_eighth, DType::q4_K},
     .v_grouped = {Layers::all, DType::q4_K}},
    {.name = "q3_K_S", .base = DType::q3_K, .file_type = 11, .out_of_8 = kQ5OfExperts},
    {.name = "q3_K_M",
     .base = DType::q3_K,
     .file_type = 12,
     .v = {Layers::first_2, DType::q5_K},
     .v_rest = {Layers::all, DType::q4_K},
     .down = {Layers::first_16th, DType::q5_K},
     .down_rest = {Layers::all, DType::q4_K},
     .attn_out = {Layers::all, DType::q4_K},
     .qkv = {Layers::all, DType::q4_K},
     .out_of_8 = kQ5OfExperts},
    {.name = "q3_K_L",
     .base = DType::q3_K,
     .file_type = 13,
     .v = {Layers::all, DType::q5_K},
     .down = {Layers::all, DType::q5_K},
     .attn_out = {Layers::all, DType::q5_K},
     .qkv = {Layers::all, DType::q4_K}},
    {.name = "q4_K_S",
     .base = DType::q4_K,
     .file_type = 14,
     .v = {Layers::first_4, DType::q5_K},
     .down = {Layers::first_eighth, DType::q5_K},
     .out_of_8 = kQ5OfExperts},
    {.name = "q4_K_M",
     .base = DType::q4_K,
     .file_type = 15,
     .v = {Layers::more_bits, DType::q6_K},
     .down = {Layers::more_bits, DType::q6_K},
     .qkv = {Layers::all, DType::q5_K},
     .out_of_8 = kQ5OfExperts},
    {.name = "q5_K_S", .base = DType::q5_K, .file_type = 16},
    {.name = "q5_K_M",
     .base = DType::q5_K,
     .file_type = 17,
     .v = {Layers::more_bits, DType::q6_K},
     .down = {Layers::more_bits, DType::q6_K},
     .qkv = {Layers::all, DType::q6_K}},
    {.name = "q4_0",
     .base = DType::q4_0,
     .file_type = 2,
     .down_weighted = {Layers::first_eighth, DType::q4_1}},
    {.name = "q5_0",
     .base = DType::q5_0,
     .file_type = 8,
     .down_weighted = {Layers::first_eighth, DType::q5_1}},
    {.name = "q8_0", .base = DType::q8_0, .file_type = 7, .output = DType::q8_0},
    {.name = "f32", .base = DType::f32, .file_type = 0, .output = DType::f32},
    {.name = "f16", .base = DType::f16, .file_type = 1, .output = DType::f16},
    {.name = "bf16", .base = DType::bf16, .file_type = 32, .output = DType::bf16},
    {.name = "iq4_nl",
     .base = DType::iq4_NL,
     .file_type = 25,
     .v_grouped = {Layers::all, DType::q5_K},
     .down_plain = {Layers::first_eighth, DType::q5_K},
     .out_of_8 = kQ5OfExperts},
    {.name = "iq4_xs",
     .base = DType::iq4_XS,
     .file_type = 30,
     .v_grouped = {Layers::all, DType::q5_K},
     .down_plain = {Layers::first_eighth, DType::q5_K},
     .out_of_8 = kQ5OfExperts},
    {.name = "tq1_0", .base = DType::tq1_0, .file_type = 36, .embedding = DType::q4_K},
    {.name = "tq2_0", .base = DType::tq2_0, .file_type = 37, .embedding = DType::q4_K},
    {.name = "mxfp4_moe",
     .base = DType::mxfp4,
     .file_type = 38,
     .output = DType::q8_0,
     .embedding = DType::q8_0,
     .experts_only = true},
};

constexpr char lower(char c) {
  return c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : c;
}

bool same_name(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (lower(a[i]) != lower(b[i])) return false;
  }
  return true;
}

// Types that weights come in: not the integers, nor the formats of activations.
bool holds_weights(DType type) {
  switch (type) {
    case DType::f64:
    case DType::i8:
    case DType::i16:
    case DType::i32:
    case DType::i64:
    case DType::q8_1:
    case DType::q8_K:
    case DType::count_:
      return false;
    default:
      return true;
  }
}

bool applies(Layers layers, int layer, int n) {
  switch (layers) {
    case Layers::none:
      return false;
    case Layers::all:
      return true;
    case Layers::more_bits:
      return layer < n / 8 || layer >= 7 * n / 8 || (layer - n / 8) % 3 == 2;
    case Layers::first_eighth:
      return layer < n / 8;
    case Layers::first_16th:
      return layer < n / 16;
    case Layers::first_4:
      return layer < 4;
    case Layers::first_2:
      return layer < 2;
  }
  return false;
}

// What stands in for a type whose blocks of 256 do not divide a row.
DType smaller_blocks(DType type) {
  switch (type) {
    case DType::q4_K:
      return DType::q5_0;
    case DType::q5_K:
      return DType::q5_1;
    case DType::q6_K:
      return DType::q8_0;
    case DType::tq1_0:
    case DType::tq2_0:
      return DType::q4_0;
    case DType::i4g128:
      return DType::i4g64;
    case DType::i4g64:
      return DType::i4g32;
    default:  // of a 32 itself: nothing is left
      return dtype_info(type).block_elems > 32 ? DType::iq4_NL : type;
  }
}

bool divides(DType type, int64_t cols) {
  return cols % dtype_info(type).block_elems == 0;
}

bool is_block_type(DType type) {
  return dtype_info(type).block_elems > 1;
}

// The layer of "blk.7.attn_v.weight"; 0 for tensors of no layer.
int layer_of(std::string_view name) {
  constexpr std::string_view kPrefix = "blk.";
  if (!name.starts_with(kPrefix)) return 0;
  name.remove_prefix(kPrefix.size());
  return int(parse_int(name.substr(0, name.find('.'))).value_or(0));
}

DType layer_type(const Recipe& recipe, const RecipeModel& model, std::string_view name) {
  const int layer = layer_of(name);
  const auto has = [&](std::string_view part) { return name.find(part) != std::string_view::npos; };
  const auto first_of = [&](std::initializer_list<Upgrade> upgrades) {
    for (const Upgrade& upgrade : upgrades) {
      if (applies(upgrade.layers, layer, model.n_layers)) return upgrade.type;
    }
    return recipe.base;
  };
  const bool of_8 = model.n_experts == 8;
  if (recipe.experts_only) return has("_exps.") ? recipe.base : DType::q8_0;
  // Small beside 8 experts, and used by all tokens.
  if (of_8 && is_block_type(recipe.base) && (has("attn_v.") || has("attn_k."))) return DType::q8_0;
  if (has("attn_v.")) {
    const bool grouped = model.heads_per_kv_head >= 4;
    return first_of({grouped ? recipe.v_grouped : Upgrade{}, recipe.v, recipe.v_rest});
  }
  if (has("ffn_down")) {
    return first_of({recipe.down, recipe.down_rest,
                     model.importance ? recipe.down_weighted : recipe.down_plain});
  }
  if (has("attn_output.")) return first_of({of_8 ? recipe.out_of_8 : recipe.attn_out});
  if (has("attn_qkv.")) return first_of({recipe.qkv});
  return recipe.base;
}

}  // namespace

uint32_t file_type(DType type) {
  constexpr std::pair<DType, uint32_t> kNumbers[] = {
      {DType::f32, 0},   {DType::f16, 1},    {DType::q4_0, 2},   {DType::q4_1, 3},
      {DType::q8_0, 7},  {DType::q5_0, 8},   {DType::q5_1, 9},   {DType::q2_K, 10},
      {DType::q3_K, 12}, {DType::q4_K, 15},  {DType::q5_K, 17},  {DType::q6_K, 18},
      {DType::bf16, 32}, {DType::tq1_0, 36}, {DType::tq2_0, 37}, {DType::mxfp4, 38}};
  for (const auto& [known, number] : kNumbers) {
    if (known == type) return number;
  }
  return 1024;
}

DType dividing_type(DType type, int64_t cols) {
  while (!divides(type, cols)) {
    const DType smaller = smaller_blocks(type);
    if (smaller == type) return DType::f16;
    type = smaller;
  }
  return type;
}

std::vector<std::string_view> recipe_names() {
  std::vector<std::string_view> names;
  for (const Recipe& recipe : kRecipes) names.push_back(recipe.name);
  for (int i = 0; i < kDTypeCount; ++i) {
    const std::string_view name = dtype_name(DType(i));
    bool known = !holds_weights(DType(i));
    for (const Recipe& recipe : kRecipes) known = known || same_name(recipe.name, name);
    if (!known) names.push_back(name);
  }
  return names;
}

bool can_write_recipe(std::string_view name) {
  const Result<Recipe> recipe = find_recipe(name);
  return recipe.ok() && can_encode(recipe.value().base);
}

Result<Recipe> find_recipe(std::string_view name) {
  for (const Recipe& recipe : kRecipes) {
    if (same_name(recipe.name, name)) return recipe;
  }
  const std::optional<DType> type = dtype_from_name(name);
  if (type && holds_weights(*type)) {
    return Recipe{.name = dtype_name(*type), .base = *type, .file_type = file_type(*type)};
  }
  std::string known;
  for (const std::string_view one : recipe_names()) {
    known += concat(known.empty() ? "" : ", ", one);
  }
  return Error{ErrorCode::bad_request,
               concat("expected a type (", known, "), found \"", printable(name), "\"")};
}

DType recipe_type(const Recipe& recipe, const RecipeModel& model, std::string_view name,
                  std::span<const int64_t> dims) {
  const bool is_matrix = dims.size() > 1 && name.ends_with(".weight");
  if (!is_matrix || name.find("ffn_gate_inp") != std::string_view::npos) return DType::f32;
  const bool is_table = name == "token_embd.weight";
  DType type = layer_type(recipe, model, name);
  if (is_table) type = recipe.embedding;
  if (name == "output.weight" || (is_table && model.tied)) {
    type = divides(recipe.base, dims[0]) ? recipe.output : DType::q8_0;
  }
  return dividing_type(type, dims[0]);
}

}  // namespace lm
