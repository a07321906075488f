// engine/model/hyperparameters.h — the metadata of one architecture, each number checked on
// reading. "block_count" here is the key "llama.block_count" of the file. A message names the key,
// the range that makes sense and what was found.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/result.h"
#include "gguf/file.h"

namespace lm {

class Hyperparameters {
 public:
  Hyperparameters(const gguf::File& file, std::string_view architecture)
      : file_(file), prefix_(std::string(architecture) + ".") {}

  bool has(std::string_view name) const { return file_.value(key(name)) != nullptr; }

  // An integer in [min, max].
  Result<int> count(std::string_view name, int64_t min, int64_t max) const;
  Result<int> count_or(std::string_view name, int fallback, int64_t min, int64_t max) const;
  // One integer for each layer: an array of n_layers, or one value for all.
  Result<std::vector<int>> per_layer(std::string_view name, int n_layers, int64_t min,
                                     int64_t max) const;
  // A finite number in [min, max].
  Result<float> number(std::string_view name, float min, float max) const;
  Result<float> number_or(std::string_view name, float fallback, float min, float max) const;
  Result<bool> boolean_or(std::string_view name, bool fallback) const {
    return file_.boolean_or(key(name), fallback);
  }
  Result<std::string_view> str_or(std::string_view name, std::string_view fallback) const {
    return file_.str_or(key(name), fallback);
  }
  // Yes or no for each layer, stored as an array of booleans or integers.
  Result<std::vector<bool>> flags(std::string_view name, int n_layers) const;

  std::string key(std::string_view name) const { return prefix_ + std::string(name); }
  bool is_array(std::string_view name) const;

 private:
  gguf::File file_;
  std::string prefix_;
};

}  // namespace lm
