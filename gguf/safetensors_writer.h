// gguf/safetensors_writer.h — writes one safetensors file: a header that says where each tensor
// lies, then their bytes in declared order. Source: huggingface/safetensors README, "Format".
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "engine/core/result.h"
#include "gguf/safetensors.h"

namespace lm::safetensors {

class Writer {
 public:
  // bad_request when the name is taken or the bytes are beyond counting.
  Status add_tensor(std::string name, ElementType type, std::vector<int64_t> shape);
  uint64_t bytes() const { return end_; }  // of all tensors

  // `fill(index, sink)` calls sink(bytes) with exactly the tensor's bytes, in pieces or not. The
  // file appears under its name only when all went well.
  using Sink = std::function<Status(std::span<const std::byte>)>;
  using Fill = std::function<Status(size_t tensor_index, const Sink& sink)>;
  Status write(const std::filesystem::path& path, const Fill& fill) const;

 private:
  struct Entry {
    std::string name;
    ElementType type;
    std::vector<int64_t> shape;
    uint64_t begin, end;
  };
  std::string header() const;

  std::vector<Entry> entries_;
  uint64_t end_ = 0;
};

}  // namespace lm::safetensors
