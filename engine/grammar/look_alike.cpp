#include "engine/grammar/look_alike.h"

#include <numeric>
#include <unordered_map>
#include <utility>

namespace lm::grammar {
namespace {

constexpr size_t kMaxSize = size_t{1} << 20;  // states and edges

class Refinement {
 public:
  explicit Refinement(const Automaton& automaton)
      : automaton_(automaton), class_of_(automaton.size(), 0) {}

  // One round; false when nothing changed.
  bool refine() {
    std::unordered_multimap<uint64_t, StateId> first_of;  // by hash: a state of each new class
    std::vector<StateId> next(class_of_.size());
    std::vector<uint64_t> mine, theirs;
    size_t n = 0;
    for (StateId state = 0; state < next.size(); ++state) {
      describe(state, mine);
      const uint64_t hash = hash_of(mine);
      bool known = false;
      for (auto [at, end] = first_of.equal_range(hash); at != end && !known; ++at) {
        describe(at->second, theirs);
        known = mine == theirs;
        if (known) next[state] = next[at->second];
      }
      if (known) continue;
      first_of.emplace(hash, state);
      next[state] = state;
      ++n;
    }
    class_of_ = std::move(next);
    return std::exchange(n_classes_, n) != n;
  }

  std::vector<StateId> take() { return std::move(class_of_); }

 private:
  // What tells a state from others, given the classes of the round before.
  void describe(StateId state, std::vector<uint64_t>& out) const {
    out.assign({class_of_[state], uint64_t{automaton_.accepts(state)}});
    uint64_t first = 0, last = 0, to = UINT64_MAX;  // neighbours of one class are one edge
    const auto flush = [&] {
      if (to != UINT64_MAX) out.push_back(to << 16 | first << 8 | last);
    };
    for (const Automaton::ByteEdge& edge : automaton_.edges(state)) {
      const uint64_t target = class_of_[edge.to];
      if (target == to && edge.first == last + 1) {
        last = edge.last;
        continue;
      }
      flush();
      first = edge.first, last = edge.last, to = target;
    }
    flush();
    // Calls may take no byte before they return: only the very same are alike.
    for (const Automaton::Call& call : automaton_.calls(state)) {
      out.push_back(UINT64_MAX);
      out.push_back(uint64_t{call.start} << 32 | call.back_to);
    }
  }

  static uint64_t hash_of(const std::vector<uint64_t>& words) {
    uint64_t h = 0;
    for (const uint64_t word : words) {
      h = (h ^ word) * 0xBF58476D1CE4E5B9;  // splitmix64's multiplier
      h ^= h >> 29;
    }
    return h;
  }

  const Automaton& automaton_;
  std::vector<StateId> class_of_;
  size_t n_classes_ = 1;
};

}  // namespace

std::vector<StateId> look_alikes(const Automaton& automaton, size_t n_bytes) {
  std::vector<StateId> own(automaton.size());
  std::iota(own.begin(), own.end(), 0);
  size_t size = automaton.size();
  for (const StateId state : own) size += automaton.edges(state).size();
  if (size > kMaxSize) return own;
  Refinement refinement(automaton);
  for (size_t round = 0; round <= n_bytes; ++round) {
    if (!refinement.refine()) break;
  }
  return refinement.take();
}

}  // namespace lm::grammar
