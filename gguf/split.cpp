#include "gguf/split.h"

#include <cstdio>

#include "engine/core/text.h"

namespace lm::gguf {
namespace {

constexpr std::string_view kPartKey = "split.no";  // counted from 0
constexpr std::string_view kCountKey = "split.count";
constexpr std::string_view kTensorsKey = "split.tensors.count";  // of all parts
constexpr size_t kDigits = 5;

// The five digits at the end of `text`, which are removed.
std::optional<int> take_digits(std::string_view& text) {
  if (text.size() < kDigits) return std::nullopt;
  int number = 0;
  for (const char c : text.substr(text.size() - kDigits)) {
    if (c < '0' || c > '9') return std::nullopt;
    number = number * 10 + (c - '0');
  }
  text.remove_suffix(kDigits);
  return number;
}

bool take_suffix(std::string_view& text, std::string_view suffix) {
  if (!text.ends_with(suffix)) return false;
  text.remove_suffix(suffix.size());
  return true;
}

// nullopt when the key is absent.
Result<std::optional<int64_t>> integer(const Part& part, std::string_view key) {
  const Value* value = part.value(key);
  if (value == nullptr) return std::optional<int64_t>();
  const std::optional<int64_t> n = as_integer(value->type, value->bytes.data());
  if (!n || value->type == ValueType::boolean) {
    return Error{ErrorCode::bad_file,
                 concat("metadata key ", key, ": expected an integer, found a ",
                        value_type_name(value->type))};
  }
  return n;
}

Status expect(const Part& part, std::string_view key, int64_t expected) {
  const std::optional<int64_t> n = LM_TRY(integer(part, key));
  if (n == expected) return ok();
  return Error{ErrorCode::bad_file, concat("metadata key ", key, ": expected ", expected,
                                           ", found ", n ? std::to_string(*n) : "none")};
}

}  // namespace

std::string SplitName::file_name(int part_number) const {
  char tail[64];
  std::snprintf(tail, sizeof tail, "-%05d-of-%05d.gguf", part_number, count);
  return stem + tail;
}

std::optional<SplitName> parse_split_name(std::string_view file_name) {
  if (!take_suffix(file_name, ".gguf")) return std::nullopt;
  const std::optional<int> count = take_digits(file_name);
  if (!count || !take_suffix(file_name, "-of-")) return std::nullopt;
  const std::optional<int> part = take_digits(file_name);
  if (!part || !take_suffix(file_name, "-")) return std::nullopt;
  if (*part < 1 || *part > *count) return std::nullopt;
  return SplitName{std::string(file_name), *part, *count};
}

Status check_split(const Part& part, const SplitName& name, int part_number) {
  if (name.count == 1 && part.value(kCountKey) == nullptr) return ok();
  LM_TRY(expect(part, kCountKey, name.count));
  return expect(part, kPartKey, part_number - 1);
}

Status check_not_split(const Part& part) {
  const std::optional<int64_t> count = LM_TRY(integer(part, kCountKey));
  if (!count || *count <= 1) return ok();
  return Error{
      ErrorCode::bad_file,
      concat("this is one of ", *count, " parts of a model, but its name does not end with ",
             "-00001-of-0000N.gguf, which is needed to find the others")};
}

Status check_split_tensors(const Part& first, size_t n_tensors) {
  const std::optional<int64_t> promised = LM_TRY(integer(first, kTensorsKey));
  if (!promised || *promised == int64_t(n_tensors)) return ok();
  return Error{ErrorCode::bad_file, concat("expected ", *promised, " tensors in all parts (",
                                           kTensorsKey, "), found ", n_tensors)};
}

}  // namespace lm::gguf
