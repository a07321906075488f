// engine/core/user_folder.h — where a user's files of one kind are, as the XDG Base Directory
// Specification 0.8 has it.
#pragma once
#include <filesystem>
#include <string_view>

namespace lm {

// "llm" in the folder that the variable ($XDG_CACHE_HOME, …) names, else below $HOME in
// `otherwise` (".cache"). Empty when neither names one; relative paths are ignored.
std::filesystem::path user_folder(const char* variable, const char* home,
                                  std::string_view otherwise);

}  // namespace lm
