// gguf/safetensors.h — safetensors files (one, or sharded by an index) as checked views.
// As the format demands, tensors cover the data exactly: no overlap, no hole, nothing behind.
// Source: huggingface/safetensors README, "Format".
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/result.h"

namespace lm::safetensors {

enum class ElementType : uint8_t {
  f64,
  f32,
  f16,
  bf16,
  f8_e4m3,
  f8_e5m2,
  i64,
  i32,
  i16,
  i8,
  u8,
  u16,
  u32,
  u64,
  boolean,
};
std::string_view element_type_name(ElementType type);  // "F32", "BF16", ...
int element_bytes(ElementType type);
std::optional<ElementType> element_type_from_name(std::string_view name);

struct TensorInfo {
  std::string name;
  ElementType type;
  std::vector<int64_t> shape;        // >= 0; row-major: the last one varies fastest; [] is a scalar
  std::span<const std::byte> bytes;  // inside the mapping, exactly the tensor's length
};

class File {
 public:
  // A file, an index ("NAME.index.json") with its shards beside it, or a folder that holds
  // model.safetensors or model.safetensors.index.json.
  static Result<File> open(const std::filesystem::path& path);
  static Result<File> parse(std::span<const std::byte> bytes);  // bytes must outlive the File

  std::span<const TensorInfo> tensors() const;            // sorted by name
  const TensorInfo* tensor(std::string_view name) const;  // nullptr when absent; O(log n)
  std::string_view metadata(std::string_view key) const;  // "__metadata__"; empty when absent

  // Gives the memory of all mappings back; who reads them again reads the disk.
  void release() const;

 private:
  struct Impl;
  explicit File(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<const Impl> impl_;
};

}  // namespace lm::safetensors
