// engine/grammar/look_alike.h — states that no short token can tell apart. A string of at most 400
// characters has a state for each count, but far from the ends they all take the same tokens: what
// is computed for one holds for all. (Rounds of Moore's partition refinement: after k rounds,
// states of one class agree on all strings of fewer than k bytes.)
#pragma once
#include <vector>

#include "engine/grammar/automaton.h"

namespace lm::grammar {

// For each state one that reads, and ends on, the same strings of up to `n_bytes` bytes; of a class
// all name the same one. Where that would take too long each state names itself.
std::vector<StateId> look_alikes(const Automaton& automaton, size_t n_bytes);

}  // namespace lm::grammar
