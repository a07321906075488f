#include "engine/runtime/suffix_index.h"

#include <algorithm>

namespace lm {
namespace {

constexpr int kRoot = 0;
constexpr size_t kFirstSlots = 64;  // a power of two, as every size of the table

uint64_t hash(int from, TokenId token) {
  // The finaliser of splitmix64 (doi:10.1145/2714064.2660195).
  uint64_t z = uint64_t(uint32_t(from)) << 32 | uint32_t(token);
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
  z = (z ^ z >> 27) * 0x94D049BB133111EBu;
  return z ^ z >> 31;
}

}  // namespace

SuffixIndex::SuffixIndex() : slots_(kFirstSlots, -1) {
  states_.push_back({.length = 0, .link = -1, .last_end = 0, .first_edge = -1});
}

int SuffixIndex::add_state(const State& state) {
  states_.push_back(state);
  return int(states_.size()) - 1;
}

// Where the edge is, or the empty slot where it would be.
size_t SuffixIndex::slot_of(int from, TokenId token) const {
  const size_t mask = slots_.size() - 1;
  for (size_t slot = size_t(hash(from, token)) & mask;; slot = (slot + 1) & mask) {
    const int index = slots_[slot];
    if (index < 0) return slot;
    const Edge& edge = edges_[size_t(index)];
    if (edge.from == from && edge.token == token) return slot;
  }
}

int SuffixIndex::find_edge(int from, TokenId token) const {
  return slots_[slot_of(from, token)];
}

void SuffixIndex::add_edge(int from, TokenId token, int to) {
  if (2 * (edges_.size() + 1) > slots_.size()) grow_slots();
  int& first = states_[size_t(from)].first_edge;
  edges_.push_back({from, token, to, first});
  first = int(edges_.size()) - 1;
  slots_[slot_of(from, token)] = first;
}

void SuffixIndex::grow_slots() {
  slots_.assign(2 * slots_.size(), -1);
  for (size_t i = 0; i < edges_.size(); ++i) {
    slots_[slot_of(edges_[i].from, edges_[i].token)] = int(i);
  }
}

void SuffixIndex::append(TokenId token) {
  const int newest = extend(token);
  ++size_;
  follow(token, newest);
}

// The online construction: returns the state of the whole new text.
int SuffixIndex::extend(TokenId token) {
  const int newest =
      add_state({.length = size_ + 1, .link = kRoot, .last_end = size_ + 1, .first_edge = -1});
  int state = whole_, edge = -1;
  for (; state >= 0; state = states_[size_t(state)].link) {
    edge = find_edge(state, token);
    if (edge >= 0) break;
    add_edge(state, token, newest);
  }
  if (state >= 0) {
    const int next = edges_[size_t(edge)].to;
    const bool whole_state = states_[size_t(next)].length == states_[size_t(state)].length + 1;
    const int link = whole_state ? next : split(state, next, token);
    states_[size_t(newest)].link = link;
  }
  whole_ = newest;
  return newest;
}

// The substrings of `state` that `token` leads to from `parent` now end in more places than the
// longer ones: they get a state of their own.
int SuffixIndex::split(int parent, int state, TokenId token) {
  State shorter = states_[size_t(state)];
  shorter.length = states_[size_t(parent)].length + 1;
  shorter.first_edge = -1;
  const int clone = add_state(shorter);
  for (int e = states_[size_t(state)].first_edge; e >= 0; e = edges_[size_t(e)].next) {
    add_edge(clone, edges_[size_t(e)].token, edges_[size_t(e)].to);
  }
  states_[size_t(state)].link = clone;
  for (int s = parent; s >= 0; s = states_[size_t(s)].link) {
    Edge& edge = edges_[size_t(find_edge(s, token))];
    if (edge.to != state) break;
    edge.to = clone;
  }
  if (suffix_ == state && std::min(size_, kMaxMatch) <= shorter.length) suffix_ = clone;
  return clone;
}

// Moves on to the state of the new text's last kMaxMatch tokens, reads from it and the states of
// shorter suffixes where they were seen last, and then marks them as seen here.
void SuffixIndex::follow(TokenId token, int newest) {
  const int length = std::min(size_, kMaxMatch);
  suffix_ = edges_[size_t(find_edge(suffix_, token))].to;
  while (states_[size_t(states_[size_t(suffix_)].link)].length >= length) {
    suffix_ = states_[size_t(suffix_)].link;
  }
  const State& seen = states_[size_t(suffix_ == newest ? states_[size_t(newest)].link : suffix_)];
  match_ = {.length = std::min(seen.length, length), .end = seen.last_end};
  for (int s = suffix_; s != kRoot; s = states_[size_t(s)].link)
    states_[size_t(s)].last_end = size_;
}

}  // namespace lm
