// gguf/name_index.h — finds an item by its name, and names that occur twice.
// A sorted list of numbers, not a hash table: 4 bytes an item, and no choice of names makes it slow
// (a hash with a known seed can be flooded by the author of a file).
#pragma once
#include <algorithm>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace lm {

class NameIndex {
 public:
  // name_of(i) is the name of item i in [0, n). Returns an item whose name occurs more than once.
  template <class NameOf>
  std::optional<uint32_t> build(size_t n, const NameOf& name_of) {
    order_.resize(n);
    for (size_t i = 0; i < n; ++i) order_[i] = uint32_t(i);
    std::sort(order_.begin(), order_.end(),
              [&](uint32_t a, uint32_t b) { return name_of(a) < name_of(b); });
    const auto twice =
        std::adjacent_find(order_.begin(), order_.end(),
                           [&](uint32_t a, uint32_t b) { return name_of(a) == name_of(b); });
    if (twice == order_.end()) return std::nullopt;
    return *twice;
  }

  // The item of that name. O(log n).
  template <class NameOf>
  std::optional<uint32_t> find(std::string_view name, const NameOf& name_of) const {
    const auto at =
        std::lower_bound(order_.begin(), order_.end(), name,
                         [&](uint32_t i, std::string_view key) { return name_of(i) < key; });
    if (at == order_.end() || name_of(*at) != name) return std::nullopt;
    return *at;
  }

 private:
  std::vector<uint32_t> order_;
};

}  // namespace lm
