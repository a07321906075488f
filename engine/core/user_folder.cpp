#include "engine/core/user_folder.h"

namespace lm {

std::filesystem::path user_folder(const char* variable, const char* home,
                                  std::string_view otherwise) {
  if (variable != nullptr && *variable == '/') return std::filesystem::path(variable) / "llm";
  if (home != nullptr && *home == '/') return std::filesystem::path(home) / otherwise / "llm";
  return {};
}

}  // namespace lm
