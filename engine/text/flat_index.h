// engine/text/flat_index.h — a hash index from keys to positions in an array that somebody else
// owns. One flat table, linear probing, at most half full: a vocabulary of 150,000 tokens is
// indexed in milliseconds, where a node-based map spends most of the loading time.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace lm {

class FlatIndex {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;

  // Room for `count` keys (count < 2^31).
  explicit FlatIndex(size_t count) {
    size_t slots = 16;
    while (slots < 2 * count) slots *= 2;
    slots_.resize(slots);
  }

  // The position that was inserted for the key; `equal(position)` compares keys. kNone: absent.
  template <class Equal>
  uint32_t find(uint64_t hash, const Equal& equal) const {
    return slots_[slot_of(hash, equal)].position;
  }

  // Keeps the first of equal keys: returns the position that the key has now.
  template <class Equal>
  uint32_t insert(uint64_t hash, uint32_t position, const Equal& equal) {
    Slot& slot = slots_[slot_of(hash, equal)];
    if (slot.position == kNone) slot = {tag_of(hash), position};
    return slot.position;
  }

 private:
  struct Slot {
    uint32_t tag = 0;  // upper half of the hash: most comparisons end here
    uint32_t position = kNone;
  };

  static uint32_t tag_of(uint64_t hash) { return static_cast<uint32_t>(hash >> 32); }

  template <class Equal>
  size_t slot_of(uint64_t hash, const Equal& equal) const {
    const size_t mask = slots_.size() - 1;
    size_t i = static_cast<size_t>(hash) & mask;
    while (slots_[i].position != kNone &&
           !(slots_[i].tag == tag_of(hash) && equal(slots_[i].position))) {
      i = (i + 1) & mask;
    }
    return i;
  }

  std::vector<Slot> slots_;  // a power of two, at most half of them used
};

}  // namespace lm
