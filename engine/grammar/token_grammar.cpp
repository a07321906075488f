#include "engine/grammar/token_grammar.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "engine/grammar/limits.h"
#include "engine/grammar/look_alike.h"

namespace lm::grammar {
namespace {

constexpr size_t kMaxLocalBytes = size_t{64} << 20;
constexpr size_t kFewShare = 128;  // a set of less than 1/128 of all tokens is kept as a list

}  // namespace

bool TokenSet::contains(TokenId id) const {
  if (bits.empty()) return std::binary_search(few.begin(), few.end(), id);
  const size_t word = size_t(id) / 64;
  return id >= 0 && word < bits.size() && (bits[word] >> (size_t(id) % 64) & 1) != 0;
}

void TokenSetBuilder::add(const TokenSet& set) {
  for (size_t i = 0; i < set.bits.size(); ++i) bits_[i] |= set.bits[i];
  for (const TokenId id : set.few) add(id);
}

TokenSet TokenSetBuilder::finish() && {
  size_t count = 0;
  for (const uint64_t word : bits_) count += size_t(std::popcount(word));
  TokenSet set;
  if (count * kFewShare > bits_.size() * 64) {
    set.bits = std::move(bits_);
    return set;
  }
  set.few.reserve(count);
  for (size_t i = 0; i < bits_.size(); ++i) {
    for (uint64_t word = bits_[i]; word != 0; word &= word - 1) {
      set.few.push_back(TokenId(i * 64 + size_t(std::countr_zero(word))));
    }
  }
  return set;
}

TokenGrammar::TokenGrammar(Automaton automaton, std::shared_ptr<const Vocabulary> vocabulary)
    : automaton_(std::move(automaton)),
      vocabulary_(std::move(vocabulary)),
      look_alike_(look_alikes(automaton_, TokenTrie::kShort)) {}

Result<std::shared_ptr<const TokenGrammar>> TokenGrammar::create(
    Automaton automaton, std::shared_ptr<const Vocabulary> vocabulary) {
  if (vocabulary->end_tokens().empty()) {
    return Error{ErrorCode::unsupported,
                 "expected a vocabulary with a token that ends a text, which a grammar needs, "
                 "found none"};
  }
  return std::shared_ptr<const TokenGrammar>(
      new TokenGrammar(std::move(automaton), std::move(vocabulary)));
}

TokenGrammar::LocalPair TokenGrammar::local(StateId state) const {
  const std::lock_guard lock(mutex_);
  const StateId shared = look_alike_[state];
  LocalPair pair;
  pair.shallow = remembered(uint64_t{shared} * 2, [&] { return compute_shallow(shared); });
  pair.deep = remembered(uint64_t{state} * 2 + 1, [&] { return compute_deep(state); });
  return pair;
}

template <class Compute>
std::shared_ptr<const TokenGrammar::Local> TokenGrammar::remembered(uint64_t key,
                                                                    Compute compute) const {
  const auto known = locals_.find(key);
  if (known != locals_.end()) return known->second;
  if (!table_ || table_->bytes() > kMaxTableBytes / 2) {
    table_ = std::make_unique<ConfigTable>(automaton_);
  }
  auto local = std::make_shared<const Local>(compute());
  if (table_->overflowed()) table_.reset();
  if (local_bytes_ > kMaxLocalBytes) {
    locals_.clear();
    local_bytes_ = 0;
  }
  local_bytes_ += sizeof(Local) + local->tokens.bytes() + local->exits.capacity() * 4;
  locals_.emplace(key, local);
  return local;
}

TokenGrammar::Local TokenGrammar::compute_shallow(StateId state) const {
  const TokenTrie& trie = vocabulary_->trie();
  Local local;
  TokenSetBuilder tokens(trie.n_tokens());
  const ConfigId start = table_->single({state, ConfigTable::kBottom});
  walk(*table_, trie, 0, trie.size(), 0, start, path_, [&](size_t node, ConfigId config) {
    for (const TokenId id : trie.tokens(node)) tokens.add(id);
    if (trie.node(node).is_leaf != 0) return false;
    if (table_->ends(config)) local.exits.push_back(uint32_t(node));
    const TokenTrie::Plain* plain = trie.plain(node);
    if (plain != nullptr && table_->reads_all(config, plain->bytes, plain->height)) {
      for (const TokenId id : trie.tokens_below(node)) tokens.add(id);
      return false;
    }
    return trie.node(node).depth < TokenTrie::kShort;
  });
  local.tokens = std::move(tokens).finish();
  local.complete = !table_->overflowed();
  return local;
}

TokenGrammar::Local TokenGrammar::compute_deep(StateId state) const {
  const TokenTrie& trie = vocabulary_->trie();
  Local local;
  const ConfigId start = table_->single({state, ConfigTable::kBottom});
  for (const TokenTrie::Deep& deep : trie.deep()) {
    ConfigId config = start;
    for (size_t i = 0; i < deep.bytes.size() && config != ConfigTable::kDead; ++i) {
      config = table_->step(config, uint8_t(deep.bytes[i]));
    }
    if (config == ConfigTable::kDead) continue;
    const TokenTrie::Node& top = trie.node(deep.node);
    walk(*table_, trie, deep.node + 1, top.end, top.depth, config, path_,
         [&](size_t node, ConfigId below) {
           const std::span<const TokenId> found = trie.tokens(node);
           local.tokens.few.insert(local.tokens.few.end(), found.begin(), found.end());
           if (trie.node(node).is_leaf == 0 && table_->ends(below)) {
             local.exits.push_back(uint32_t(node));
           }
           return true;
         });
  }
  std::sort(local.tokens.few.begin(), local.tokens.few.end());
  local.complete = !table_->overflowed();
  return local;
}

}  // namespace lm::grammar
