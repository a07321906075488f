// engine/tools/hf_json.h — checked reads from the JSON files of a Hugging Face folder.
// Every number has a range, every value a type; an error names the file and the key. A key whose
// value is null counts as absent, as the files' own writers mean it.
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "engine/core/json.h"
#include "engine/core/result.h"

namespace lm::hf {

// An object in a file. Cheap to copy; the JSON value must outlive it.
class Object {
 public:
  // `value` may be anything: what is not an object has no keys.
  Object(const SortedJson* value, std::string_view file) : value_(value), file_(file) {}

  const SortedJson* find(std::string_view key) const;  // nullptr when absent or null
  bool has(std::string_view key) const { return find(key) != nullptr; }
  Object object(std::string_view key) const;  // no keys when absent
  std::string_view file() const { return file_; }

  // Error when out of [lo, hi], of another type, or absent without a fallback.
  Result<int64_t> integer(std::string_view key, int64_t lo, int64_t hi,
                          std::optional<int64_t> fallback = std::nullopt) const;
  Result<double> number(std::string_view key, double lo, double hi,
                        std::optional<double> fallback = std::nullopt) const;
  Result<bool> boolean(std::string_view key, bool fallback) const;
  Result<std::string> str(std::string_view key, std::optional<std::string> fallback) const;

  Error wrong(std::string_view key, std::string_view expected) const;

 private:
  const SortedJson* value_;
  std::string_view file_;
};

// The parsed file; null when there is no such file.
Result<SortedJson> read_json(const std::filesystem::path& path, uint64_t max_bytes);

}  // namespace lm::hf
