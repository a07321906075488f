#include "tests/support/support.h"

#include <cstdlib>
#include <system_error>

namespace lm::test {

std::optional<std::filesystem::path> fixture(std::string_view relative) {
  const char* root = std::getenv("LLM_FIXTURES");
  const std::filesystem::path base =
      root != nullptr ? std::filesystem::path(root)
                      : std::filesystem::path(LLM_SOURCE_DIR) / ".." / "shared" / "fixtures";
  std::filesystem::path path = base / relative;
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return std::nullopt;
  return path;
}

TempDir::TempDir() {
  std::string name = (std::filesystem::temp_directory_path() / "llm-test-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) FAIL("cannot make a temporary folder");
  path_ = name;
}

TempDir::~TempDir() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace lm::test
