// engine/tools/rewrite.h — what every job that makes a GGUF file of another one needs.
#pragma once
#include <filesystem>
#include <functional>
#include <span>
#include <string_view>

#include "engine/core/result.h"
#include "gguf/file.h"
#include "gguf/writer.h"

namespace lm {

// All keys, as they are, but those that describe a split into several files and those that `skip`
// (which may be empty) says.
void copy_metadata(const gguf::File& file, gguf::Writer& writer,
                   const std::function<bool(std::string_view key)>& skip = {});

inline std::span<const int64_t> dims_of(const gguf::TensorInfo& tensor) {
  return std::span(tensor.dims).first(size_t(tensor.n_dims));
}
int64_t n_elements(const gguf::TensorInfo& tensor);

// bad_request when there is something at `path` that is not a regular file: the output is renamed
// into place, and a device must stay what it is.
Status check_output_path(const std::filesystem::path& path);

}  // namespace lm
