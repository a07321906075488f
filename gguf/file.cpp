#include "gguf/file.h"

#include <cmath>
#include <functional>
#include <limits>
#include <string>

#include "engine/core/file.h"
#include "engine/core/text.h"
#include "gguf/cursor.h"
#include "gguf/parse.h"
#include "gguf/split.h"

namespace lm::gguf {
namespace {

// The same outcome; an Error says which file it is about.
template <class T>
Result<T> in_file(const std::filesystem::path& path, Result<T> result) {
  if (result.ok()) return result;
  return std::move(result).error().within(printable(path.native(), 1000));
}

}  // namespace

struct File::Impl {
  std::vector<MappedFile> maps;  // empty when the bytes are the caller's
  Part first;                    // metadata, and the tensors of all parts
  NameIndex tensor_index;
  uint64_t file_bytes = 0;

  Status index_tensors() {
    const auto name_of = [this](uint32_t i) { return first.tensors[i].name; };
    const auto twice = tensor_index.build(first.tensors.size(), name_of);
    if (!twice) return ok();
    return Error{ErrorCode::bad_file,
                 concat("tensor ", printable(name_of(*twice)), " occurs twice")};
  }

  // Maps and parses one file; keeps its mapping.
  Result<Part> load(const std::filesystem::path& path) {
    MappedFile map = LM_TRY(MappedFile::open(path));
    Part part = LM_TRY(in_file(path, parse_part(map.bytes())));
    file_bytes += map.bytes().size();
    maps.push_back(std::move(map));
    return part;
  }

  Status load_single(const std::filesystem::path& path) {
    first = LM_TRY(load(path));
    return in_file(path, check_not_split(first));
  }

  Result<Part> load_part(const std::filesystem::path& path, const SplitName& name, int number) {
    std::filesystem::path part_path = path;
    part_path.replace_filename(name.file_name(number));
    Part part = LM_TRY(load(part_path));
    LM_TRY(in_file(part_path, check_split(part, name, number)));
    return part;
  }

  Status load_split(const std::filesystem::path& path, const SplitName& name) {
    for (int i = 1; i <= name.count; ++i) {
      Result<Part> loaded = load_part(path, name, i);
      if (!loaded.ok()) {
        return std::move(loaded).error().within(concat("part ", i, " of ", name.count));
      }
      Part part = std::move(loaded).value();
      if (i == 1) {
        first = std::move(part);
        continue;
      }
      if (first.tensors.size() + part.tensors.size() > kMaxTensors) {
        return Error{ErrorCode::bad_file,
                     concat("expected at most ", kMaxTensors, " tensors in all parts")};
      }
      first.tensors.insert(first.tensors.end(), part.tensors.begin(), part.tensors.end());
    }
    return in_file(path, check_split_tensors(first, first.tensors.size()));
  }
};

Result<File> File::open(const std::filesystem::path& path) {
  auto impl = std::make_shared<Impl>();
  const auto name = parse_split_name(path.filename().native());
  Status status = name ? impl->load_split(path, *name) : impl->load_single(path);
  if (status.ok()) status = in_file(path, impl->index_tensors());
  if (!status.ok()) return std::move(status).error();
  return File(std::move(impl));
}

Result<File> File::parse(std::span<const std::byte> bytes) {
  auto impl = std::make_shared<Impl>();
  impl->first = LM_TRY(parse_part(bytes));
  impl->file_bytes = bytes.size();
  LM_TRY(impl->index_tensors());
  return File(std::move(impl));
}

std::span<const TensorInfo> File::tensors() const {
  return impl_->first.tensors;
}

const TensorInfo* File::tensor(std::string_view name) const {
  const std::vector<TensorInfo>& all = impl_->first.tensors;
  const auto i = impl_->tensor_index.find(name, [&](uint32_t t) { return all[t].name; });
  return i ? &all[*i] : nullptr;
}

std::span<const std::string_view> File::keys() const {
  return impl_->first.keys;
}
const Value* File::value(std::string_view key) const {
  return impl_->first.value(key);
}
void File::release(std::span<const std::byte> bytes) const {
  for (const MappedFile& map : impl_->maps) {
    const std::byte* base = map.bytes().data();
    const std::less_equal<> not_after;
    const bool inside = not_after(base, bytes.data()) &&
                        not_after(bytes.data() + bytes.size(), base + map.bytes().size());
    if (inside) map.release(bytes);
  }
}

std::vector<std::filesystem::path> File::paths() const {
  std::vector<std::filesystem::path> paths;
  for (const MappedFile& map : impl_->maps) paths.push_back(map.path());
  return paths;
}
uint64_t File::file_bytes() const {
  return impl_->file_bytes;
}
uint32_t File::version() const {
  return impl_->first.version;
}
uint32_t File::alignment() const {
  return impl_->first.alignment;
}

// Typed reads.
namespace {

std::string type_in_words(const Value& value) {
  if (value.type != ValueType::array) return std::string(value_type_name(value.type));
  return concat("array of ", value_type_name(value.element_type));
}

Error missing(std::string_view key) {
  return Error{ErrorCode::bad_file, concat("metadata key ", printable(key), " is missing")};
}

Error wrong_type(std::string_view key, std::string_view expected, const Value& found) {
  return Error{ErrorCode::bad_file, concat("metadata key ", printable(key), ": expected ", expected,
                                           ", found ", type_in_words(found))};
}

template <class T>
Error out_of_range(std::string_view key, std::string_view expected, T found) {
  return Error{ErrorCode::bad_file,
               concat("metadata key ", printable(key), ": expected ", expected, ", found ", found)};
}

bool is_integer(ValueType type) {
  switch (type) {
    case ValueType::u8:
    case ValueType::i8:
    case ValueType::u16:
    case ValueType::i16:
    case ValueType::u32:
    case ValueType::i32:
    case ValueType::u64:
    case ValueType::i64:
      return true;
    default:
      return false;
  }
}

// A stored float; nullopt when a finite f64 is too large for it.
std::optional<float> as_float(ValueType type, const std::byte* at) {
  if (type == ValueType::f32) return load<float>(at);
  const auto wide = load<double>(at);
  if (std::isfinite(wide) && std::fabs(wide) > double(std::numeric_limits<float>::max())) {
    return std::nullopt;
  }
  return float(wide);
}

bool is_float(ValueType type) {
  return type == ValueType::f32 || type == ValueType::f64;
}

}  // namespace

Result<int64_t> File::i64(std::string_view key) const {
  const Value* found = value(key);
  if (found == nullptr) return missing(key);
  if (!is_integer(found->type)) return wrong_type(key, "an integer", *found);
  const std::optional<int64_t> n = as_integer(found->type, found->bytes.data());
  if (!n) return out_of_range(key, "less than 2^63", load<uint64_t>(found->bytes.data()));
  return *n;
}

Result<uint32_t> File::u32(std::string_view key) const {
  const int64_t n = LM_TRY(i64(key));
  if (n < 0 || n > std::numeric_limits<uint32_t>::max()) {
    return out_of_range(key, "0 to 4294967295", n);
  }
  return uint32_t(n);
}

Result<float> File::f32(std::string_view key) const {
  const Value* found = value(key);
  if (found == nullptr) return missing(key);
  if (!is_float(found->type)) return wrong_type(key, "a float", *found);
  const std::optional<float> x = as_float(found->type, found->bytes.data());
  if (!x) return out_of_range(key, "a 32-bit float", load<double>(found->bytes.data()));
  return *x;
}

Result<bool> File::boolean(std::string_view key) const {
  const Value* found = value(key);
  if (found == nullptr) return missing(key);
  if (found->type != ValueType::boolean) return wrong_type(key, "a boolean", *found);
  return found->bytes[0] != std::byte{0};
}

Result<std::string_view> File::str(std::string_view key) const {
  const Value* found = value(key);
  if (found == nullptr) return missing(key);
  if (found->type != ValueType::string) return wrong_type(key, "a string", *found);
  return *Cursor(found->bytes).string();
}

Result<std::vector<int32_t>> File::i32s(std::string_view key) const {
  const Value* found = value(key);
  if (found == nullptr) return missing(key);
  const ValueType type = found->element_type;
  if (found->type != ValueType::array || !(is_integer(type) || type == ValueType::boolean)) {
    return wrong_type(key, "an array of integers", *found);
  }
  std::vector<int32_t> out(found->count);
  for (size_t i = 0; i < out.size(); ++i) {
    const auto n = as_integer(type, found->bytes.data() + i * value_type_bytes(type));
    if (!n || *n < std::numeric_limits<int32_t>::min() ||
        *n > std::numeric_limits<int32_t>::max()) {
      return out_of_range(key, "32-bit integers", concat("a larger one at index ", i));
    }
    out[i] = int32_t(*n);
  }
  return out;
}

Result<std::vector<float>> File::f32s(std::string_view key) const {
  const Value* found = value(key);
  if (found == nullptr) return missing(key);
  const ValueType type = found->element_type;
  if (found->type != ValueType::array || !is_float(type)) {
    return wrong_type(key, "an array of floats", *found);
  }
  std::vector<float> out(found->count);
  for (size_t i = 0; i < out.size(); ++i) {
    const auto x = as_float(type, found->bytes.data() + i * value_type_bytes(type));
    if (!x) return out_of_range(key, "32-bit floats", concat("a larger one at index ", i));
    out[i] = *x;
  }
  return out;
}

Result<std::vector<std::string_view>> File::strs(std::string_view key) const {
  const Value* found = value(key);
  if (found == nullptr) return missing(key);
  if (found->type != ValueType::array || found->element_type != ValueType::string) {
    return wrong_type(key, "an array of strings", *found);
  }
  std::vector<std::string_view> out(found->count);
  Cursor in(found->bytes);
  for (std::string_view& text : out) text = *in.string();
  return out;
}

Result<uint32_t> File::u32_or(std::string_view key, uint32_t fallback) const {
  if (value(key) == nullptr) return fallback;
  return u32(key);
}

Result<float> File::f32_or(std::string_view key, float fallback) const {
  if (value(key) == nullptr) return fallback;
  return f32(key);
}

Result<bool> File::boolean_or(std::string_view key, bool fallback) const {
  if (value(key) == nullptr) return fallback;
  return boolean(key);
}

Result<std::string_view> File::str_or(std::string_view key, std::string_view fallback) const {
  if (value(key) == nullptr) return fallback;
  return str(key);
}

}  // namespace lm::gguf
