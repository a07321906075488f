// gguf/writer.h — writes a GGUF v3 file: metadata first, tensor data streamed in declared order.
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/result.h"
#include "gguf/value.h"
#include "quant/dtype.h"

namespace lm::gguf {

class Writer {
 public:
  Writer();
  ~Writer();
  Writer(Writer&&) noexcept;
  Writer& operator=(Writer&&) noexcept;

  // Metadata, in the order of the calls. Setting a key again replaces its value in place. The
  // alignment of tensor data is the value of "general.alignment" (a u32), 32 when it is not set.
  void set_u32(std::string_view key, uint32_t value);
  void set_u64(std::string_view key, uint64_t value);
  void set_i32(std::string_view key, int32_t value);
  void set_f32(std::string_view key, float value);
  void set_bool(std::string_view key, bool value);
  void set_str(std::string_view key, std::string_view value);
  void set_strs(std::string_view key, std::span<const std::string> values);
  void set_i32s(std::string_view key, std::span<const int32_t> values);
  void set_u32s(std::string_view key, std::span<const uint32_t> values);
  void set_f32s(std::string_view key, std::span<const float> values);
  void set(std::string_view key, const Value& value);  // any value of another file, as it is

  // Declares a tensor of 1 to 4 dims; dims[0] varies fastest. bad_request when the name is taken,
  // not UTF-8, or longer than the 63 bytes that other readers take, or when the shape does not
  // divide into blocks. A type of our own also sets the key that says so (kI4gVersionKey).
  Status add_tensor(std::string_view name, DType dtype, std::span<const int64_t> dims);

  // Opens `path`, writes header and metadata, then asks `fill` for every tensor's bytes in
  // declared order; `fill(index, sink)` calls sink(bytes) any number of times with the exact total
  // (another total is a bad_request). The file appears under its name only when all went well.
  using Sink = std::function<Status(std::span<const std::byte>)>;
  using Fill = std::function<Status(size_t tensor_index, const Sink& sink)>;
  Status write(const std::filesystem::path& path, const Fill& fill) const;
  // The same into anything that takes bytes.
  Status stream(const Sink& out, const Fill& fill) const;
  // The same into memory (tests, tiny models).
  Result<std::vector<std::byte>> to_bytes(const Fill& fill) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lm::gguf
