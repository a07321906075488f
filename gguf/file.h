// gguf/file.h — a GGUF file (v2, v3) as a set of checked views. Nothing here knows what a model is.
// Everything is checked when the file is opened: a view that exists is inside the mapping, no two
// tensors overlap, names are unique UTF-8. String values are bytes: old vocabularies hold any.
// Source: ggml-org/ggml docs/gguf.md.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "engine/core/result.h"
#include "gguf/value.h"
#include "quant/dtype.h"

namespace lm::gguf {

inline constexpr int kMaxDims = 4;

struct TensorInfo {
  std::string_view name;
  DType dtype;
  int n_dims;                          // 1 to 4 (a scalar has one, of length 1)
  std::array<int64_t, kMaxDims> dims;  // >= 1; dims[0] varies fastest; unused ones are 1
  std::span<const std::byte> bytes;    // inside the mapping, exactly the tensor's length
};

class File {
 public:
  // Maps the file; when its name ends with "-0000I-of-0000N", all N parts, whichever is given.
  static Result<File> open(const std::filesystem::path& path);
  // One part held in memory, which must outlive the File: the door that tests and the fuzzer use.
  static Result<File> parse(std::span<const std::byte> bytes);

  std::span<const TensorInfo> tensors() const;            // in file order
  const TensorInfo* tensor(std::string_view name) const;  // nullptr when absent; O(log n)

  std::span<const std::string_view> keys() const;  // in file order
  const Value* value(std::string_view key) const;  // nullptr when absent; O(log n)

  // Typed reads. Any integer type is accepted where the value fits; f64 for f32. `Error` when the
  // key is absent, of another kind, or out of range; the message names the key.
  Result<uint32_t> u32(std::string_view key) const;
  Result<int64_t> i64(std::string_view key) const;
  Result<float> f32(std::string_view key) const;
  Result<bool> boolean(std::string_view key) const;
  Result<std::string_view> str(std::string_view key) const;
  // Arrays, copied out (bounded by the file's length: an element costs at least a byte there).
  // i32s takes any integers, and booleans as 0 and 1.
  Result<std::vector<int32_t>> i32s(std::string_view key) const;
  Result<std::vector<float>> f32s(std::string_view key) const;
  Result<std::vector<std::string_view>> strs(std::string_view key) const;

  // The same with a fallback for an absent key. A present key of the wrong type is still an Error.
  Result<uint32_t> u32_or(std::string_view key, uint32_t fallback) const;
  Result<float> f32_or(std::string_view key, float fallback) const;
  Result<bool> boolean_or(std::string_view key, bool fallback) const;
  Result<std::string_view> str_or(std::string_view key, std::string_view fallback) const;

  // Gives the memory of these bytes of the mapping back; who reads them again reads the disk.
  void release(std::span<const std::byte> bytes) const;

  uint64_t file_bytes() const;                       // all parts
  std::vector<std::filesystem::path> paths() const;  // of the parts, in order; none when parsed
  uint32_t version() const;                          // 2 or 3
  uint32_t alignment() const;                        // of tensor data

 private:
  struct Impl;
  explicit File(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<const Impl> impl_;
};

}  // namespace lm::gguf
