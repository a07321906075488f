// engine/runtime/suffix_index.h — where the end of a text has occurred before: the longest of its
// suffixes that did, and the last place where it did. A suffix automaton, built online (Blumer et
// al., "The smallest automaton recognizing the subwords of a text", 1985, doi:10.1016/0304-3975(85)
// 90157-4), whose states also remember where they were last seen.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/core/token.h"

namespace lm {

class SuffixIndex {
 public:
  static constexpr int kMaxMatch = 32;  // tokens: a longer context hardly says more

  SuffixIndex();

  // Constant time, amortised over the text; about 100 bytes of memory a token.
  void append(TokenId token);
  int size() const { return size_; }  // tokens

  // tokens [end - length, end) are the last `length` ones too, and end < size(). Of all such the
  // longest, up to kMaxMatch; of these the one with the largest end. length 0: there is none.
  struct Match {
    int length = 0, end = 0;
  };
  Match match() const { return match_; }

 private:
  // The substrings that end at the same places; their lengths are (length of link, length].
  struct State {
    int length, link;  // link: the state of the longest shorter suffix that ends elsewhere too
    int last_end;      // of occurrences so far; right where a substring is within kMaxMatch
    int first_edge;
  };
  struct Edge {
    int from;
    TokenId token;
    int to, next;  // next: of the same state
  };

  int add_state(const State& state);
  void add_edge(int from, TokenId token, int to);
  int find_edge(int from, TokenId token) const;  // -1: none
  size_t slot_of(int from, TokenId token) const;
  void grow_slots();
  int extend(TokenId token);
  int split(int parent, int state, TokenId token);
  void follow(TokenId token, int newest);

  std::vector<State> states_;
  std::vector<Edge> edges_;
  std::vector<int> slots_;  // hash table of edges by (from, token); -1: empty
  int size_ = 0;
  int whole_ = 0;   // the state of the whole text
  int suffix_ = 0;  // the state of its last min(size, kMaxMatch) tokens
  Match match_;
};

}  // namespace lm
