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

// Before work that may take hours: bad_file when there is no folder for `path`; bad_request when
// there is something at `path` that is not a regular file, or one of the inputs (under whatever
// name). The output is renamed into place, a device must stay what it is, and an input may be all
// that its owner has.
Status check_output_path(const std::filesystem::path& path,
                         std::span<const std::filesystem::path> inputs = {});

}  // namespace lm
