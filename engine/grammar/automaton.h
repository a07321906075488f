// engine/grammar/automaton.h — a grammar compiled: one deterministic automaton over bytes for each
// rule, with calls between them. Together with a stack of the states to return to it is a pushdown
// automaton (a recursive transition network; Woods 1970). Every state in it can still reach the
// end.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/core/result.h"
#include "engine/grammar/grammar.h"

namespace lm::grammar {

using StateId = uint32_t;

class Automaton {
 public:
  struct ByteEdge {
    uint8_t first, last;
    StateId to;
  };
  struct Call {
    StateId start;    // of the rule that is called
    StateId back_to;  // where it returns to
    bool is_last;     // nothing but the end follows there: no need to return
  };

  // `spellable`: the characters that may occur, those that the vocabulary has tokens for.
  // unsupported when the grammar is too large, calls itself without taking a character first (left
  // recursion), or has no text at all.
  static Result<Automaton> compile(const Grammar& grammar,
                                   const CharSet& spellable = CharSet::all());

  StateId start() const { return start_; }
  size_t size() const { return states_.size(); }
  bool accepts(StateId state) const { return states_[state].accepts; }
  std::span<const ByteEdge> edges(StateId state) const {
    const State& s = states_[state];
    return std::span(edges_).subspan(s.first_edge, s.n_edges);
  }
  std::span<const Call> calls(StateId state) const {
    const State& s = states_[state];
    return std::span(calls_).subspan(s.first_call, s.n_calls);
  }
  // Bytes of one class take the same edges everywhere.
  const std::vector<uint8_t>& byte_class() const { return byte_class_; }  // [256]
  size_t n_byte_classes() const { return n_classes_; }

 private:
  friend class AutomatonBuilder;
  struct State {
    uint32_t first_edge = 0, n_edges = 0, first_call = 0, n_calls = 0;
    bool accepts = false;
  };

  std::vector<State> states_;
  std::vector<ByteEdge> edges_;
  std::vector<Call> calls_;
  std::vector<uint8_t> byte_class_;
  size_t n_classes_ = 0;
  StateId start_ = 0;
};

}  // namespace lm::grammar
