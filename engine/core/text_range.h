// engine/core/text_range.h — a part of a text, in bytes.
#pragma once
#include <cstddef>

namespace lm {

struct TextRange {
  size_t begin, end;  // [begin, end)
  bool operator==(const TextRange&) const = default;
};

}  // namespace lm
