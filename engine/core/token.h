// engine/core/token.h — the integer that text, sampling and scheduling pass around.
#pragma once
#include <cstdint>

namespace lm {

using TokenId = int32_t;

}  // namespace lm
