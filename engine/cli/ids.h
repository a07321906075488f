// engine/cli/ids.h — token ids as people and scripts write them.
#pragma once
#include <string_view>
#include <vector>

#include "engine/core/result.h"
#include "engine/core/token.h"

namespace lm::cli {

// "1 15043, 3186": whole numbers below n_vocab, with spaces, newlines or commas between.
Result<std::vector<TokenId>> parse_ids(std::string_view list, int n_vocab);

}  // namespace lm::cli
