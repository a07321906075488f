#include "engine/tools/hf_json.h"

#include <system_error>

#include "engine/core/file.h"
#include "engine/core/text.h"

namespace lm::hf {
namespace {

std::string describe(const SortedJson* value) {
  if (value == nullptr) return "nothing";
  if (value->is_object()) return "an object";
  if (value->is_array()) return "a list";
  if (value->is_string())
    return concat('"', printable(value->get_ref<const std::string&>(), 60), '"');
  return value->dump(-1, ' ', false, SortedJson::error_handler_t::replace);
}

}  // namespace

const SortedJson* Object::find(std::string_view key) const {
  if (value_ == nullptr || !value_->is_object()) return nullptr;
  const auto it = value_->find(key);
  return it == value_->end() || it->is_null() ? nullptr : &*it;
}

Object Object::object(std::string_view key) const {
  return {find(key), file_};
}

Error Object::wrong(std::string_view key, std::string_view expected) const {
  return Error{ErrorCode::bad_file, concat(file_, ": expected \"", key, "\" to be ", expected,
                                           ", found ", describe(find(key)))};
}

Result<int64_t> Object::integer(std::string_view key, int64_t lo, int64_t hi,
                                std::optional<int64_t> fallback) const {
  const SortedJson* value = find(key);
  if (value == nullptr && fallback) return *fallback;
  const std::string expected = concat("a whole number from ", lo, " to ", hi);
  if (value == nullptr || !value->is_number_integer()) return wrong(key, expected);
  const bool too_large =
      value->is_number_unsigned() && value->get<uint64_t>() > uint64_t(INT64_MAX);
  if (too_large || value->get<int64_t>() < lo || value->get<int64_t>() > hi)
    return wrong(key, expected);
  return value->get<int64_t>();
}

Result<double> Object::number(std::string_view key, double lo, double hi,
                              std::optional<double> fallback) const {
  const SortedJson* value = find(key);
  if (value == nullptr && fallback) return *fallback;
  if (value == nullptr || !value->is_number() || !(value->get<double>() >= lo) ||
      !(value->get<double>() <= hi)) {
    return wrong(key, concat("a number from ", lo, " to ", hi));
  }
  return value->get<double>();
}

Result<bool> Object::boolean(std::string_view key, bool fallback) const {
  const SortedJson* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) return wrong(key, "true or false");
  return value->get<bool>();
}

Result<std::string> Object::str(std::string_view key, std::optional<std::string> fallback) const {
  const SortedJson* value = find(key);
  if (value == nullptr && fallback) return *std::move(fallback);
  if (value == nullptr || !value->is_string()) return wrong(key, "a text");
  return value->get<std::string>();
}

Result<SortedJson> read_json(const std::filesystem::path& path, uint64_t max_bytes) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return SortedJson();
  const std::string text = LM_TRY(read_file(path, max_bytes));
  Result<SortedJson> json = parse_sorted_json(text);
  if (!json.ok()) return std::move(json).error().within(printable(path.native(), 1000));
  return json;
}

}  // namespace lm::hf
