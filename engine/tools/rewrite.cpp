#include "engine/tools/rewrite.h"

#include <system_error>

#include "engine/core/file.h"
#include "engine/core/text.h"

namespace lm {

void copy_metadata(const gguf::File& file, gguf::Writer& writer,
                   const std::function<bool(std::string_view key)>& skip) {
  for (const std::string_view key : file.keys()) {
    if (key.starts_with("split.") || (skip && skip(key))) continue;
    writer.set(key, *file.value(key));
  }
}

int64_t n_elements(const gguf::TensorInfo& tensor) {
  int64_t n = 1;  // the file was checked: the product fits
  for (const int64_t dim : dims_of(tensor)) n *= dim;
  return n;
}

Status check_output_path(const std::filesystem::path& path,
                         std::span<const std::filesystem::path> inputs) {
  if (path.empty())
    return Error{ErrorCode::bad_request, "expected a name for the output, found an empty one"};
  std::error_code ignored;
  const std::filesystem::path folder = folder_of(path);
  if (!std::filesystem::is_directory(folder, ignored)) {
    return Error{ErrorCode::bad_file, concat("expected a folder to write in, found none at ",
                                             printable(folder.native(), 1000))};
  }
  const std::filesystem::file_status status = std::filesystem::status(path, ignored);
  if (!std::filesystem::exists(status)) return ok();
  if (!std::filesystem::is_regular_file(status)) {
    return Error{ErrorCode::bad_request,
                 concat("expected a file to write, found something else at ",
                        printable(path.native(), 1000))};
  }
  for (const std::filesystem::path& input : inputs) {
    if (!std::filesystem::equivalent(input, path, ignored)) continue;
    return Error{ErrorCode::bad_request, concat("expected an output apart from the input, found ",
                                                printable(path.native(), 1000), " twice")};
  }
  return ok();
}

}  // namespace lm
