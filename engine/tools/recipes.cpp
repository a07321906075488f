#include "engine/tools/recipes.h"

#include <string>

#include "engine/core/text.h"

namespace lm {
namespace {

constexpr Recipe kRecipes[] = {
    {.name = "q2_K",
     .base = DType::q2_K,
     .v = {Layers::all, DType::q3_K},
     .down = {Layers::all, DType::q3_K},
     .attn_out = {Layers::all, DType::q3_K},
     .v_grouped = {Layers::all, DType::q4_K}},
    {.name = "q3_K_S", .base = DType::q3_K},
    {.name = "q3_K_M",
     .base = DType::q3_K,
     .v = {Layers::first_2, DType::q5_K},
     .v_rest = {Layers::all, DType::q4_K},
     .down = {Layers::first_16th, DType::q5_K},
     .down_rest = {Layers::all, DType::q4_K},
     .attn_out = {Layers::all, DType::q4_K}},
    {.name = "q3_K_L",
     .base = DType::q3_K,
     .v = {Layers::all, DType::q5_K},
     .down = {Layers::all, DType::q5_K},
     .attn_out = {Layers::all, DType::q5_K}},
    {.name = "q4_K_S",
     .base = DType::q4_K,
     .v = {Layers::first_4, DType::q5_K},
     .down = {Layers::first_eighth, DType::q5_K}},
    {.name = "q4_K_M",
     .base = DType::q4_K,
     .v = {Layers::more_bits, DType::q6_K},
     .down = {Layers::more_bits, DType::q6_K}},
    {.name = "q5_K_S", .base = DType::q5_K},
    {.name = "q5_K_M",
     .base = DType::q5_K,
     .v = {Layers::more_bits, DType::q6_K},
     .down = {Layers::more_bits, DType::q6_K}},
    {.name = "q8_0", .base = DType::q8_0, .output = DType::q8_0},
    {.name = "f32", .base = DType::f32, .output = DType::f32},
    {.name = "f16", .base = DType::f16, .output = DType::f16},
    {.name = "bf16", .base = DType::bf16, .output = DType::bf16},
    {.name = "iq4_nl",
     .base = DType::iq4_NL,
     .down = {Layers::first_eighth, DType::q5_K},
     .v_grouped = {Layers::all, DType::q5_K}},
    {.name = "iq4_xs",
     .base = DType::iq4_XS,
     .down = {Layers::first_eighth, DType::q5_K},
     .v_grouped = {Layers::all, DType::q5_K}},
    {.name = "tq1_0", .base = DType::tq1_0, .embedding = DType::q4_K},
    {.name = "tq2_0", .base = DType::tq2_0, .embedding = DType::q4_K},
    {.name = "mxfp4_moe",
     .base = DType::mxfp4,
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
    default:
      return DType::iq4_NL;
  }
}

bool divides(DType type, int64_t cols) {
  return cols % dtype_info(type).block_elems == 0;
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
  if (recipe.experts_only) return has("_exps.") ? recipe.base : DType::q8_0;
  if (has("attn_v.")) {
    const bool grouped = model.heads_per_kv_head >= 4;
    return first_of({grouped ? recipe.v_grouped : Upgrade{}, recipe.v, recipe.v_rest});
  }
  if (has("ffn_down")) return first_of({recipe.down, recipe.down_rest});
  if (has("attn_output.")) return first_of({recipe.attn_out});
  return recipe.base;
}

}  // namespace

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

Result<Recipe> find_recipe(std::string_view name) {
  for (const Recipe& recipe : kRecipes) {
    if (same_name(recipe.name, name)) return recipe;
  }
  const std::optional<DType> type = dtype_from_name(name);
  if (type && holds_weights(*type)) return Recipe{.name = dtype_name(*type), .base = *type};
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
  if (!divides(type, dims[0])) type = smaller_blocks(type);
  return divides(type, dims[0]) ? type : DType::f16;
}

}  // namespace lm
