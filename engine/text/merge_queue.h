// engine/text/merge_queue.h — the loop that all these tokenizers share: among all neighbours that
// may merge, merge the pair of lowest rank (of equal ones the leftmost), until none is left.
// The candidates wait in a heap, so a word of n symbols takes O(n log n). A candidate whose symbols
// have changed meanwhile is recognised by its length and passed over.
#pragma once
#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "engine/core/token.h"

namespace lm {

// Words are cut to this many bytes before they come here: positions fit 32 bits, and the memory
// that a word without a break can take is bounded.
inline constexpr size_t kMaxWordBytes = size_t{16} << 20;

struct Merge {
  static constexpr uint32_t kNone = UINT32_MAX;
  uint32_t rank = kNone;  // lower merges first
  TokenId id = -1;        // what the two become
};

class MergeQueue {
 public:
  struct Symbol {
    uint32_t begin, length;  // bytes of the word; length 0: merged into its left neighbour
    int32_t prev, next;      // -1: there is none
    TokenId id;              // -1: not a token by itself
  };

  void clear() {
    symbols_.clear();
    heap_.clear();
  }

  // The next symbol of the word, from left to right.
  void add(size_t length, TokenId id) {
    const auto i = static_cast<int32_t>(symbols_.size());
    const uint32_t begin = i == 0 ? 0 : symbols_.back().begin + symbols_.back().length;
    if (i > 0) symbols_.back().next = i;
    symbols_.push_back({begin, static_cast<uint32_t>(length), i - 1, -1, id});
  }

  // find(left symbol, right symbol) -> Merge.
  template <class Find>
  void run(const Find& find) {
    for (int32_t i = 1; i < static_cast<int32_t>(symbols_.size()); ++i) propose(i - 1, find);
    std::make_heap(heap_.begin(), heap_.end());
    while (!heap_.empty()) {
      std::pop_heap(heap_.begin(), heap_.end());
      const Candidate best = heap_.back();
      heap_.pop_back();
      Symbol& left = at(best.left);
      if (left.length == 0 || left.next < 0) continue;
      Symbol& right = at(left.next);
      // The left one grows only by taking in the right one: if either is another than it was when
      // this was proposed, the two are longer now.
      if (left.length + right.length != best.length) continue;
      join(best.left, best.id);
      const size_t before = heap_.size();
      if (at(best.left).prev >= 0) propose(at(best.left).prev, find);
      propose(best.left, find);
      for (size_t n = before + 1; n <= heap_.size(); ++n) {
        std::push_heap(heap_.begin(), heap_.begin() + static_cast<std::ptrdiff_t>(n));
      }
    }
  }

  // What is left, from left to right.
  template <class Use>
  void for_each(const Use& use) const {
    for (int32_t i = symbols_.empty() ? -1 : 0; i >= 0; i = symbols_[static_cast<size_t>(i)].next) {
      use(symbols_[static_cast<size_t>(i)]);
    }
  }

 private:
  struct Candidate {
    uint32_t rank;
    int32_t left;     // position of the left symbol
    uint32_t length;  // of both together
    TokenId id;

    // std heaps keep the greatest on top: "less" is "merges later".
    bool operator<(const Candidate& other) const {
      return rank != other.rank ? rank > other.rank : left > other.left;
    }
  };

  Symbol& at(int32_t i) { return symbols_[static_cast<size_t>(i)]; }

  template <class Find>
  void propose(int32_t i, const Find& find) {
    const Symbol& left = at(i);
    if (left.next < 0) return;
    const Symbol& right = at(left.next);
    const Merge merge = find(left, right);
    if (merge.rank == Merge::kNone) return;
    heap_.push_back({merge.rank, i, left.length + right.length, merge.id});
  }

  void join(int32_t i, TokenId id) {
    Symbol& left = at(i);
    Symbol& right = at(left.next);
    left.length += right.length;
    left.id = id;
    right.length = 0;
    left.next = right.next;
    if (left.next >= 0) at(left.next).prev = i;
  }

  std::vector<Symbol> symbols_;
  std::vector<Candidate> heap_;
};

}  // namespace lm
