// Parses any bytes as GGUF, then uses all that was accepted: every tensor, every key through every
// typed read, and a copy through the writer, which must say the same.
#include <algorithm>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "engine/core/check.h"
#include "gguf/file.h"
#include "gguf/writer.h"

namespace lm::gguf {
namespace {

bool inside(std::span<const std::byte> part, std::span<const std::byte> whole) {
  const std::less_equal<const std::byte*> le;
  return le(whole.data(), part.data()) &&
         le(part.data() + part.size(), whole.data() + whole.size());
}

void walk_tensors(const File& file, std::span<const std::byte> input) {
  uint64_t total = 0;
  for (const TensorInfo& tensor : file.tensors()) {
    LM_CHECK(file.tensor(tensor.name) == &tensor);
    LM_CHECK(tensor.n_dims >= 1 && tensor.n_dims <= kMaxDims);
    LM_CHECK(!tensor.bytes.empty() && inside(tensor.bytes, input));
    int64_t rows = 1;
    for (int i = 1; i < kMaxDims; ++i) rows *= tensor.dims[size_t(i)];
    LM_CHECK(row_bytes(tensor.dtype, tensor.dims[0]) * uint64_t(rows) == tensor.bytes.size());
    total += tensor.bytes.size();
  }
  LM_CHECK(total <= input.size());  // no two share a byte
}

// Each read succeeds for its own type alone.
void walk_values(const File& file) {
  for (const std::string_view key : file.keys()) {
    const Value* value = file.value(key);
    LM_CHECK(value != nullptr);
    const bool is_array = value->type == ValueType::array;
    const ValueType element = value->element_type;
    const auto i64 = file.i64(key);
    const auto u32 = file.u32(key);
    LM_CHECK(!u32.ok() || (i64.ok() && i64.value() == int64_t(u32.value())));
    const auto f32 = file.f32(key);
    LM_CHECK(!f32.ok() || element == ValueType::f32 || element == ValueType::f64);
    LM_CHECK(file.boolean(key).ok() == (value->type == ValueType::boolean));
    LM_CHECK(file.str(key).ok() == (value->type == ValueType::string));
    const auto i32s = file.i32s(key);
    LM_CHECK(!i32s.ok() || (is_array && i32s.value().size() == value->count));
    const auto f32s = file.f32s(key);
    LM_CHECK(!f32s.ok() || (is_array && f32s.value().size() == value->count));
    const auto strs = file.strs(key);
    LM_CHECK(strs.ok() == (is_array && element == ValueType::string));
    LM_CHECK(!strs.ok() || strs.value().size() == value->count);
    LM_CHECK(file.u32_or(key, 0).ok() == u32.ok());
  }
}

void copy(const File& file) {
  if (file.tensors().size() * file.alignment() > (1 << 20)) return;  // mostly padding
  Writer writer;
  for (const std::string_view key : file.keys()) writer.set(key, *file.value(key));
  for (const TensorInfo& tensor : file.tensors()) {
    const std::span<const int64_t> dims(tensor.dims.data(), size_t(tensor.n_dims));
    if (!writer.add_tensor(tensor.name, tensor.dtype, dims).ok()) return;  // a long name
  }
  const auto fill = [&](size_t i, const Writer::Sink& sink) {
    return sink(file.tensors()[i].bytes);
  };
  const auto written = writer.to_bytes(fill);
  if (!written.ok()) return;  // an alignment that is no u32
  const auto again = File::parse(written.value());
  LM_CHECK(again.ok());
  LM_CHECK(std::ranges::equal(file.keys(), again.value().keys()));
  for (const TensorInfo& tensor : file.tensors()) {
    const TensorInfo* other = again.value().tensor(tensor.name);
    LM_CHECK(other != nullptr && std::ranges::equal(tensor.bytes, other->bytes));
  }
}

}  // namespace
}  // namespace lm::gguf

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> input(reinterpret_cast<const std::byte*>(data), size);
  const auto file = lm::gguf::File::parse(input);
  if (!file.ok()) {
    LM_CHECK(!file.error().message.empty());
    return 0;
  }
  lm::gguf::walk_tensors(file.value(), input);
  lm::gguf::walk_values(file.value());
  lm::gguf::copy(file.value());
  return 0;
}
