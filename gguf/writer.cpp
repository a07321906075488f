#include "gguf/writer.h"

#include <algorithm>
#include <cstring>
#include <unordered_map>
#include <unordered_set>

#include "engine/core/checked.h"
#include "engine/core/file.h"
#include "engine/core/text.h"
#include "engine/core/utf8.h"
#include "gguf/cursor.h"
#include "gguf/parse.h"

namespace lm::gguf {
namespace {

constexpr uint32_t kVersion = 3;
constexpr size_t kMaxTensorNameBytes = 63;  // ggml keeps names in 64 bytes with the ending zero

Error bad_request(std::string message) {
  return Error{ErrorCode::bad_request, std::move(message)};
}

class Bytes {
 public:
  template <class T>
  void number(T value) {
    const size_t at = out_.size();
    out_.resize(at + sizeof value);
    std::memcpy(out_.data() + at, &value, sizeof value);
  }
  void raw(std::span<const std::byte> bytes) {
    out_.insert(out_.end(), bytes.begin(), bytes.end());
  }
  void string(std::string_view text) {
    number(uint64_t(text.size()));
    raw(std::as_bytes(std::span(text)));
  }
  void zeros(size_t n) { out_.resize(out_.size() + n); }
  std::vector<std::byte> take() { return std::move(out_); }
  size_t size() const { return out_.size(); }

 private:
  std::vector<std::byte> out_;
};

template <class T>
std::vector<std::byte> encode_number(ValueType type, T value) {
  Bytes out;
  out.number(uint32_t(type));
  out.number(value);
  return out.take();
}

template <class T>
std::vector<std::byte> encode_numbers(ValueType type, std::span<const T> values) {
  Bytes out;
  out.number(uint32_t(ValueType::array));
  out.number(uint32_t(type));
  out.number(uint64_t(values.size()));
  out.raw(std::as_bytes(values));
  return out.take();
}

}  // namespace

struct Writer::Impl {
  struct Entry {
    std::string key;
    std::vector<std::byte> value;  // type and payload, as in the file
  };
  struct Tensor {
    std::string name;
    DType dtype;
    std::vector<int64_t> dims;
    uint64_t bytes;
  };
  using Output = std::function<Status(std::span<const std::byte>)>;

  std::vector<Entry> entries;
  std::unordered_map<std::string, size_t> entry_of;  // key → index in entries
  std::vector<Tensor> tensors;
  std::unordered_set<std::string> names;

  void set(std::string_view key, std::vector<std::byte> value) {
    const auto [at, is_new] = entry_of.try_emplace(std::string(key), entries.size());
    if (is_new) {
      entries.push_back(Entry{std::string(key), std::move(value)});
    } else {
      entries[at->second].value = std::move(value);
    }
  }

  Status check_keys() const;
  Result<uint64_t> alignment() const;
  Result<std::vector<std::byte>> header(uint64_t alignment) const;
  Status emit(const Output& output, const Fill& fill) const;
  Status emit_tensor(size_t index, uint64_t alignment, const Output& output,
                     const Fill& fill) const;
};

Status Writer::Impl::check_keys() const {
  for (const Entry& entry : entries) {
    const std::string& key = entry.key;
    if (key.empty() || key.size() > kMaxNameBytes || !utf8::is_valid(key)) {
      return bad_request(concat("expected a metadata key of 1 to ", kMaxNameBytes,
                                " bytes of UTF-8, found ", key.size(), " bytes '", printable(key),
                                "'"));
    }
  }
  return ok();
}

Result<uint64_t> Writer::Impl::alignment() const {
  const auto at = entry_of.find(std::string(kAlignmentKey));
  if (at == entry_of.end()) return uint64_t(kDefaultAlignment);
  const std::vector<std::byte>& value = entries[at->second].value;
  if (load<uint32_t>(value.data()) != uint32_t(ValueType::u32) ||
      !valid_alignment(load<uint32_t>(value.data() + 4))) {
    return bad_request(
        concat(kAlignmentKey, ": expected a u32 power of two from 8 to ", kMaxAlignment));
  }
  return uint64_t(load<uint32_t>(value.data() + 4));
}

// Everything before the tensor data, padding included.
Result<std::vector<std::byte>> Writer::Impl::header(uint64_t alignment) const {
  Bytes out;
  out.raw(std::as_bytes(std::span(std::string_view("GGUF"))));
  out.number(kVersion);
  out.number(uint64_t(tensors.size()));
  out.number(uint64_t(entries.size()));
  for (const Entry& entry : entries) {
    out.string(entry.key);
    out.raw(entry.value);
  }
  uint64_t offset = 0;
  for (const Tensor& tensor : tensors) {
    out.string(tensor.name);
    out.number(uint32_t(tensor.dims.size()));
    for (const int64_t dim : tensor.dims) out.number(dim);
    out.number(uint32_t(dtype_info(tensor.dtype).gguf_id));
    out.number(offset);
    const auto end = checked_add(offset, tensor.bytes);
    const auto next = end ? checked_align(*end, alignment) : std::nullopt;
    if (!next) return bad_request("expected tensors of fewer than 2^64 bytes together");
    offset = *next;
  }
  const auto size = checked_align(out.size(), alignment);
  if (!size) return bad_request("expected an alignment that padding can reach");
  out.zeros(*size - out.size());
  return out.take();
}

Status Writer::Impl::emit(const Output& output, const Fill& fill) const {
  LM_TRY(check_keys());
  const uint64_t align = LM_TRY(alignment());
  LM_TRY(output(LM_TRY(header(align))));
  for (size_t i = 0; i < tensors.size(); ++i) LM_TRY(emit_tensor(i, align, output, fill));
  return ok();
}

Status Writer::Impl::emit_tensor(size_t index, uint64_t alignment, const Output& output,
                                 const Fill& fill) const {
  const Tensor& tensor = tensors[index];
  uint64_t written = 0;
  Status sunk = ok();  // the first failure, in case `fill` does not pass it on
  const Sink sink = [&](std::span<const std::byte> bytes) -> Status {
    if (!sunk.ok()) return sunk;
    if (bytes.size() > tensor.bytes - written) {
      sunk = bad_request(concat("tensor ", printable(tensor.name), ": expected ", tensor.bytes,
                                " bytes, was given more"));
    } else {
      written += bytes.size();
      sunk = output(bytes);
    }
    return sunk;
  };
  LM_TRY(fill(index, sink));
  LM_TRY(std::move(sunk));
  if (written != tensor.bytes) {
    return bad_request(concat("tensor ", printable(tensor.name), ": expected ", tensor.bytes,
                              " bytes, was given ", written));
  }
  const std::vector<std::byte> zeros(size_t(-written & (alignment - 1)));
  return output(zeros);
}

Writer::Writer() : impl_(std::make_unique<Impl>()) {}
Writer::~Writer() = default;
Writer::Writer(Writer&&) noexcept = default;
Writer& Writer::operator=(Writer&&) noexcept = default;

void Writer::set_u32(std::string_view key, uint32_t value) {
  impl_->set(key, encode_number(ValueType::u32, value));
}
void Writer::set_u64(std::string_view key, uint64_t value) {
  impl_->set(key, encode_number(ValueType::u64, value));
}
void Writer::set_i32(std::string_view key, int32_t value) {
  impl_->set(key, encode_number(ValueType::i32, value));
}
void Writer::set_f32(std::string_view key, float value) {
  impl_->set(key, encode_number(ValueType::f32, value));
}
void Writer::set_bool(std::string_view key, bool value) {
  impl_->set(key, encode_number(ValueType::boolean, uint8_t(value)));
}

void Writer::set_str(std::string_view key, std::string_view value) {
  Bytes out;
  out.number(uint32_t(ValueType::string));
  out.string(value);
  impl_->set(key, out.take());
}

void Writer::set_strs(std::string_view key, std::span<const std::string> values) {
  Bytes out;
  out.number(uint32_t(ValueType::array));
  out.number(uint32_t(ValueType::string));
  out.number(uint64_t(values.size()));
  for (const std::string& value : values) out.string(value);
  impl_->set(key, out.take());
}

void Writer::set_i32s(std::string_view key, std::span<const int32_t> values) {
  impl_->set(key, encode_numbers(ValueType::i32, values));
}
void Writer::set_u32s(std::string_view key, std::span<const uint32_t> values) {
  impl_->set(key, encode_numbers(ValueType::u32, values));
}
void Writer::set_f32s(std::string_view key, std::span<const float> values) {
  impl_->set(key, encode_numbers(ValueType::f32, values));
}

void Writer::set(std::string_view key, const Value& value) {
  Bytes out;
  out.number(uint32_t(value.type));
  if (value.type == ValueType::array) {
    out.number(uint32_t(value.element_type));
    out.number(value.count);
  }
  out.raw(value.bytes);
  impl_->set(key, out.take());
}

Status Writer::add_tensor(std::string_view name, DType dtype, std::span<const int64_t> dims) {
  if (name.empty() || name.size() > kMaxTensorNameBytes || !utf8::is_valid(name)) {
    return bad_request(concat("expected a tensor name of 1 to ", kMaxTensorNameBytes,
                              " bytes of UTF-8, found ", name.size(), " bytes '", printable(name),
                              "'"));
  }
  if (dims.empty() || dims.size() > size_t(kMaxDims)) {
    return bad_request(concat("tensor ", printable(name), ": expected 1 to ", kMaxDims,
                              " dimensions, found ", dims.size()));
  }
  Result<uint64_t> bytes = tensor_bytes(dtype, dims);
  if (!bytes.ok())
    return bad_request(concat("tensor ", printable(name), ": ", bytes.error().message));
  if (!impl_->names.emplace(name).second) {
    return bad_request(concat("tensor ", printable(name), " was already added"));
  }
  if (is_i4g(dtype)) set_u32(kI4gVersionKey, kI4gVersion);
  impl_->tensors.push_back(
      Impl::Tensor{std::string(name), dtype, {dims.begin(), dims.end()}, bytes.value()});
  return ok();
}

Status Writer::write(const std::filesystem::path& path, const Fill& fill) const {
  FileWriter file = LM_TRY(FileWriter::create(path));
  LM_TRY(impl_->emit([&](std::span<const std::byte> bytes) { return file.write(bytes); }, fill));
  return file.commit();
}

Status Writer::stream(const Sink& out, const Fill& fill) const {
  return impl_->emit(out, fill);
}

Result<std::vector<std::byte>> Writer::to_bytes(const Fill& fill) const {
  std::vector<std::byte> out;
  const auto append = [&](std::span<const std::byte> bytes) {
    out.insert(out.end(), bytes.begin(), bytes.end());
    return ok();
  };
  LM_TRY(impl_->emit(append, fill));
  return out;
}

}  // namespace lm::gguf
