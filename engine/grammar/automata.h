// engine/grammar/automata.h — finite automata over numbers: bytes, characters, or calls of rules.
// Nfa is what parsers build, Dfa what everything else reads; determinize() is the subset
// construction (Rabin, Scott 1959).
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "engine/core/result.h"
#include "engine/grammar/limits.h"

namespace lm::grammar {

// What one compilation may still spend: it ends with an error instead of running for ever.
class Work {
 public:
  bool spend(size_t steps) {
    left_ -= std::min(left_, steps);
    return left_ > 0;
  }
  bool exhausted() const { return left_ == 0; }

 private:
  size_t left_ = kMaxWork;
};
Error too_much_work();

struct Edge {
  uint32_t first, last;  // the symbols that it takes, both included
  uint32_t to;
  bool operator==(const Edge&) const = default;
};

class Nfa {
 public:
  // A jump takes no symbol; these two only where no symbol came before, or none comes after.
  enum class When : uint8_t { always, at_start, at_end };
  struct Jump {
    uint32_t to;
    When when;
  };
  struct State {
    std::vector<Edge> edges;
    std::vector<Jump> jumps;
  };

  Nfa() { add_state(); }
  uint32_t add_state();
  void add_edge(uint32_t from, uint32_t first, uint32_t last, uint32_t to);
  void add_jump(uint32_t from, uint32_t to, When when = When::always);
  bool full() const;  // past its limit: states are no longer added, determinize() will refuse

  static constexpr uint32_t kStart = 0;
  uint32_t final = 0;
  const std::vector<State>& states() const { return states_; }

 private:
  std::vector<State> states_;
  size_t size_ = 0;  // states, edges and jumps
};

struct Dfa {
  struct State {
    std::vector<Edge> edges;  // ascending, not overlapping
    bool accepts = false;
  };
  std::vector<State> states;  // the first is the start; never empty

  // The state after `symbol`; -1: there is none.
  int64_t step(uint32_t state, uint32_t symbol) const;
};

// unsupported when it takes more states or work than the limits allow.
Result<Dfa> determinize(const Nfa& nfa, Work& work);

// What both accept.
Result<Dfa> intersect(const Dfa& a, const Dfa& b, Work& work);
// What `dfa` does not accept, of all strings over [0, last_symbol].
Dfa complement(const Dfa& dfa, uint32_t last_symbol);
// The same without states that lead nowhere; a single state without edges when nothing is accepted.
Dfa trim(const Dfa& dfa);
bool accepts_nothing(const Dfa& trimmed);
bool accepts(const Dfa& dfa, std::u32string_view text);
// Every string over [0, last_symbol] that ends with `mark`, which is not empty, and has it nowhere
// else. (The automaton of Knuth, Morris and Pratt, 1977.)
Dfa up_to(std::u32string_view mark, uint32_t last_symbol);

}  // namespace lm::grammar
