#include "engine/model/hyperparameters.h"

#include <cmath>

#include "engine/core/text.h"

namespace lm {
namespace {

Error out_of_range(const std::string& key, double min, double max, double found) {
  return Error{ErrorCode::bad_file,
               concat(key, ": expected a number from ", min, " to ", max, ", found ", found)};
}

}  // namespace

bool Hyperparameters::is_array(std::string_view name) const {
  const gguf::Value* value = file_.value(key(name));
  return value != nullptr && value->type == gguf::ValueType::array;
}

Result<int> Hyperparameters::count(std::string_view name, int64_t min, int64_t max) const {
  const int64_t found = LM_TRY(file_.i64(key(name)));
  if (found < min || found > max) {
    return Error{ErrorCode::bad_file, concat(key(name), ": expected a number from ", min, " to ",
                                             max, ", found ", found)};
  }
  return int(found);
}

Result<int> Hyperparameters::count_or(std::string_view name, int fallback, int64_t min,
                                      int64_t max) const {
  if (!has(name)) return fallback;
  return count(name, min, max);
}

Result<std::vector<int>> Hyperparameters::per_layer(std::string_view name, int n_layers,
                                                    int64_t min, int64_t max) const {
  if (!is_array(name)) return std::vector<int>(size_t(n_layers), LM_TRY(count(name, min, max)));
  std::vector<int> values = LM_TRY(file_.i32s(key(name)));
  if (values.size() != size_t(n_layers)) {
    return Error{ErrorCode::bad_file,
                 concat(key(name), ": expected ", n_layers, " numbers, one for each layer, found ",
                        values.size())};
  }
  for (const int value : values) {
    if (value < min || value > max) return out_of_range(key(name), double(min), double(max), value);
  }
  return values;
}

Result<float> Hyperparameters::number(std::string_view name, float min, float max) const {
  const float found = LM_TRY(file_.f32(key(name)));
  if (!(found >= min && found <= max)) return out_of_range(key(name), min, max, found);  // NaN too
  return found;
}

Result<float> Hyperparameters::number_or(std::string_view name, float fallback, float min,
                                         float max) const {
  if (!has(name)) return fallback;
  return number(name, min, max);
}

Result<std::vector<bool>> Hyperparameters::flags(std::string_view name, int n_layers) const {
  const gguf::Value* value = file_.value(key(name));
  if (value == nullptr || value->type != gguf::ValueType::array ||
      value->count != uint64_t(n_layers)) {
    return Error{ErrorCode::bad_file, concat(key(name), ": expected an array of ", n_layers,
                                             " flags, one for each layer")};
  }
  std::vector<bool> flags;
  if (value->element_type == gguf::ValueType::boolean) {  // one byte each
    for (const std::byte b : value->bytes) flags.push_back(b != std::byte{0});
  } else {
    for (const int32_t n : LM_TRY(file_.i32s(key(name)))) flags.push_back(n != 0);
  }
  return flags;
}

}  // namespace lm
