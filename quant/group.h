// quant/group.h — numbers that lie in groups of n. Inside the room only.
#pragma once
#include <cstdint>

namespace lm {

// Group i of the groups of n that start at `first`.
template <int n, class T>
T* group(T* first, int i) {
  return first + int64_t{n} * i;
}

}  // namespace lm
