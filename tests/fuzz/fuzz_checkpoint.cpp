// Converts any bytes as a checkpoint: config.json, a zero byte, then model.safetensors. What is
// accepted is converted, read again and compared, and must be a GGUF file.
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "engine/core/check.h"
#include "engine/tools/convert.h"
#include "gguf/file.h"

namespace {

// A folder of this process, removed at its end.
class Folder {
 public:
  Folder()
      : path_(std::filesystem::temp_directory_path() /
              ("fuzz_checkpoint-" + std::to_string(getpid()))) {
    std::filesystem::create_directories(path_ / "in");
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

void save(const std::filesystem::path& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), std::streamsize(bytes.size()));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Folder folder;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t end = std::min(input.find('\0'), size);
  save(folder.path() / "in/config.json", input.substr(0, end));
  save(folder.path() / "in/model.safetensors", input.substr(std::min(end + 1, size)));
  const lm::ConvertOptions options = {.in = folder.path() / "in",
                                      .out = folder.path() / "out.gguf",
                                      .exact = size % 2 == 1,
                                      .compat = size % 3 == 1,
                                      .vocab = false,
                                      .verify = true};
  const auto report = lm::convert(options);
  if (!report.ok()) {
    LM_CHECK(!std::filesystem::exists(options.out));
    LM_CHECK(report.error().message.find('\n') == std::string::npos);
    return 0;
  }
  const auto file = lm::gguf::File::open(options.out);
  LM_CHECK(file.ok() && file.value().tensors().size() == report.value().tensors.size());
  std::filesystem::remove(options.out);
  return 0;
}
