// engine/cli/external_editor.h — text that a person changes in the editor of their choice.
#pragma once
#include <string>
#include <string_view>

#include "engine/core/result.h"

namespace lm::cli {

// Opens `text` in $VISUAL, $EDITOR or vi, and returns what was saved, without its last newline.
Result<std::string> edit_externally(std::string_view text);

}  // namespace lm::cli
