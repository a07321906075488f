// engine/grammar/token_grammar.h — a compiled grammar over a model's tokens. For each state it
// remembers, once asked, which tokens can come next whatever the stack says, and after which token
// prefixes the stack must be asked. (That split is that of Dong et al., "XGrammar",
// arXiv:2411.15100.)
#pragma once
#include <algorithm>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "engine/core/result.h"
#include "engine/grammar/automaton.h"
#include "engine/grammar/config_table.h"
#include "engine/grammar/vocabulary.h"

namespace lm::grammar {

// A set of tokens: as bits, or as a list where they are few.
struct TokenSet {
  std::vector<uint64_t> bits;  // bit id % 64 of word id / 64; empty: see `few`
  std::vector<TokenId> few;    // ascending

  bool contains(TokenId id) const;
  size_t bytes() const { return bits.capacity() * 8 + few.capacity() * sizeof(TokenId); }
};

class TokenSetBuilder {
 public:
  explicit TokenSetBuilder(size_t n_tokens) : bits_((n_tokens + 63) / 64) {}
  void add(TokenId id) { bits_[size_t(id) / 64] |= uint64_t{1} << (size_t(id) % 64); }
  void add(const TokenSet& set);
  TokenSet finish() &&;

 private:
  std::vector<uint64_t> bits_;
};

// Calls visit(node, config) for every node of [first, end) that `from` can read; `from` is where
// the bytes above depth `depth` have led. visit says whether to look below.
template <class Visit>
void walk(ConfigTable& table, const TokenTrie& trie, size_t first, size_t end, size_t depth,
          ConfigId from, std::vector<ConfigId>& path, Visit visit) {
  path.resize(std::max(path.size(), trie.longest() + 1));
  path[0] = from;
  for (size_t i = first; i < end;) {
    const TokenTrie::Node& node = trie.node(i);
    const size_t below = node.depth - depth;
    const ConfigId to = table.step(path[below - 1], node.byte);
    path[below] = to;
    i = to == ConfigTable::kDead || !visit(i, to) ? node.end : i + 1;
  }
}

class TokenGrammar {
 public:
  // unsupported when the vocabulary has no token that ends a text. (That it can spell what the
  // grammar wants is seen to by compiling the automaton for vocabulary->trie().spellable().)
  static Result<std::shared_ptr<const TokenGrammar>> create(
      Automaton automaton, std::shared_ptr<const Vocabulary> vocabulary);

  const Automaton& automaton() const { return automaton_; }
  const Vocabulary& vocabulary() const { return *vocabulary_; }

  struct Local {
    TokenSet tokens;              // that can come next while the rule of the state lasts, or end it
    std::vector<uint32_t> exits;  // inner nodes of the trie where the rule can be at its end
    bool complete = true;         // false: a limit was met
  };
  // What holds for a state is the sum of both; look-alikes share the first.
  struct LocalPair {
    std::shared_ptr<const Local> shallow;  // of bytes up to TokenTrie::kShort
    std::shared_ptr<const Local> deep;     // of those beyond
  };
  // Thread-safe; computed at the first call.
  LocalPair local(StateId state) const;

 private:
  TokenGrammar(Automaton automaton, std::shared_ptr<const Vocabulary> vocabulary);
  Local compute_shallow(StateId state) const;
  Local compute_deep(StateId state) const;
  template <class Compute>
  std::shared_ptr<const Local> remembered(uint64_t key, Compute compute) const;

  Automaton automaton_;
  std::shared_ptr<const Vocabulary> vocabulary_;
  std::vector<StateId> look_alike_;  // by state: see look_alike.h

  // What was computed, dropped altogether when it becomes too much.
  mutable std::mutex mutex_;
  mutable std::unique_ptr<ConfigTable> table_;
  mutable std::vector<ConfigId> path_;                                         // scratch
  mutable std::unordered_map<uint64_t, std::shared_ptr<const Local>> locals_;  // see local()
  mutable size_t local_bytes_ = 0;
};

}  // namespace lm::grammar
