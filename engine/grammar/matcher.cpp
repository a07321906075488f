#include "engine/grammar/matcher.h"

#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/grammar/limits.h"

namespace lm::grammar {
namespace {

constexpr size_t kMaxSetBytes = size_t{16} << 20;  // of remembered token sets

}  // namespace

struct Matcher::Memory {
  explicit Memory(const Automaton& automaton) : table(automaton) {}

  ConfigTable table;
  std::unordered_map<uint64_t, TokenSet> sets;  // by config, twice: whether the text starts there
  size_t set_bytes = 0;
  std::vector<ConfigId> path;  // scratch
};

Matcher::Matcher(std::shared_ptr<const TokenGrammar> grammar, bool at_start)
    : grammar_(std::move(grammar)),
      memory_(std::make_shared<Memory>(grammar_->automaton())),
      config_(memory_->table.enter({grammar_->automaton().start(), ConfigTable::kBottom})),
      phase_(at_start && grammar_->vocabulary().drops_first_space() ? Phase::start
                                                                    : Phase::inside) {}

bool Matcher::may_end() const {
  return phase_ == Phase::ended || (phase_ != Phase::failed && memory_->table.ends(config_));
}

// A memory that has grown large is left to the copies that still use it.
void Matcher::renew_memory() {
  if (memory_->table.bytes() <= kMaxTableBytes / 4) return;
  auto fresh = std::make_shared<Memory>(grammar_->automaton());
  config_ = fresh->table.adopt(memory_->table, config_);
  memory_ = std::move(fresh);
}

const TokenSet& Matcher::allowed() {
  renew_memory();
  const uint64_t key = uint64_t{config_} << 2 | uint64_t(phase_);
  const auto known = memory_->sets.find(key);
  if (known != memory_->sets.end()) return known->second;
  TokenSet set = compute();
  if (memory_->table.overflowed()) {
    phase_ = Phase::failed;
    set = {};
  }
  if (memory_->set_bytes > kMaxSetBytes) {
    memory_->sets.clear();
    memory_->set_bytes = 0;
  }
  memory_->set_bytes += set.bytes() + sizeof(TokenSet);
  return memory_->sets[key] = std::move(set);
}

TokenSet Matcher::compute() const {
  const Vocabulary& vocabulary = grammar_->vocabulary();
  TokenSetBuilder tokens(vocabulary.size());
  if (phase_ == Phase::start) add_first_tokens(tokens);
  if (phase_ == Phase::inside) add_tokens(tokens);
  if (may_end()) {
    for (const TokenId id : vocabulary.end_tokens()) tokens.add(id);
  }
  return std::move(tokens).finish();
}

void Matcher::add_first_tokens(TokenSetBuilder& tokens) const {
  const TokenTrie& trie = grammar_->vocabulary().first_trie();
  walk(memory_->table, trie, 0, trie.size(), 0, config_, memory_->path, [&](size_t node, ConfigId) {
    for (const TokenId id : trie.tokens(node)) tokens.add(id);
    return true;
  });
}

void Matcher::add_tokens(TokenSetBuilder& tokens) const {
  const std::span<const Thread> open = memory_->table.threads(config_);
  const std::vector<Thread> threads(open.begin(), open.end());  // the table grows below
  for (const Thread& thread : threads) {
    const TokenGrammar::LocalPair local = grammar_->local(thread.state);
    add_local(*local.shallow, thread.stack, tokens);
    add_local(*local.deep, thread.stack, tokens);
  }
}

// What a state says of itself, and what follows where its rule ends inside a token.
void Matcher::add_local(const TokenGrammar::Local& local, StackId stack,
                        TokenSetBuilder& tokens) const {
  ConfigTable& table = memory_->table;
  const TokenTrie& trie = grammar_->vocabulary().trie();
  tokens.add(local.tokens);
  if (!local.complete) table.note_overflow();
  if (stack == ConfigTable::kBottom || local.exits.empty()) return;
  const ConfigId outside = table.after_return(stack);
  for (const uint32_t exit : local.exits) {
    const TokenTrie::Node& node = trie.node(exit);
    walk(table, trie, exit + 1, node.end, node.depth, outside, memory_->path,
         [&](size_t below, ConfigId) {
           for (const TokenId id : trie.tokens(below)) tokens.add(id);
           return true;
         });
  }
}

void Matcher::accept(TokenId token) {
  const Vocabulary& vocabulary = grammar_->vocabulary();
  if (phase_ == Phase::failed) return;
  if (vocabulary.is_end(token)) {
    phase_ = may_end() ? Phase::ended : Phase::failed;
    return;
  }
  const std::string_view piece =
      phase_ == Phase::start ? vocabulary.first_piece(token) : vocabulary.piece(token);
  if (piece.empty() || phase_ == Phase::ended) {
    phase_ = Phase::failed;
    return;
  }
  for (const char byte : piece) config_ = memory_->table.step(config_, uint8_t(byte));
  const bool lost = config_ == ConfigTable::kDead || memory_->table.overflowed();
  phase_ = lost ? Phase::failed : Phase::inside;
}

}  // namespace lm::grammar
