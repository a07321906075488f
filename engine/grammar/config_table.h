// engine/grammar/config_table.h — where a text may stand in a grammar. A thread is one reading of
// the text so far: a state, and the stack of states to return to. A config is the set of all
// threads that are open. Stacks, configs and the steps between them are made once and kept: what
// the grammar does again (the next character of a string) is then a single lookup.
#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/grammar/automaton.h"

namespace lm::grammar {

using StackId = uint32_t;   // 0: the bottom
using ConfigId = uint32_t;  // 0: no reading is left

struct Thread {
  StateId state;  // one that takes bytes
  StackId stack;
  bool operator==(const Thread&) const = default;
  auto operator<=>(const Thread&) const = default;
};

class ConfigTable {
 public:
  explicit ConfigTable(const Automaton& automaton);  // which outlives it

  static constexpr ConfigId kDead = 0;
  static constexpr StackId kBottom = 0;

  // The config that holds what can be reached from one thread without a byte.
  ConfigId enter(Thread thread);
  // The config of this thread alone, as it is.
  ConfigId single(Thread thread);
  ConfigId step(ConfigId from, uint8_t byte) {
    const ConfigId known = steps_[size_t{from} * n_classes_ + class_of_[byte]];
    return known != kUnknown ? known : make_step(from, byte);
  }
  // Where the rule of the innermost frame of `stack` (not the bottom) returns to.
  ConfigId after_return(StackId stack);

  std::span<const Thread> threads(ConfigId config) const {
    const Config& c = configs_[config];
    return std::span(threads_).subspan(c.first_thread, c.n_threads);
  }
  // Some reading is at its end: has returned from the bottom.
  bool ends(ConfigId config) const { return configs_[config].ends; }

  // Whether every text over these ASCII bytes (bit b % 64 of word b / 64), up to `length` of them,
  // can be read and ends nowhere. False also where finding out would cost more than looking.
  bool reads_all(ConfigId from, const std::array<uint64_t, 2>& bytes, size_t length);

  // `from` of another table of the same automaton.
  ConfigId adopt(const ConfigTable& other, ConfigId from);

  size_t bytes() const;  // of memory, about
  // It ran into a limit: some configs have fewer threads than they should.
  bool overflowed() const { return overflowed_; }
  void note_overflow() { overflowed_ = true; }

 private:
  static constexpr ConfigId kUnknown = UINT32_MAX;

  struct Frame {
    StateId back_to;
    StackId below;
  };
  struct Config {
    uint32_t first_thread = 0, n_threads = 0;
    bool ends = false;
  };

  // The ASCII bytes that lead to the one config that most of them lead to; none where that is
  // dead or some reading has ended there.
  struct Run {
    ConfigId to = kDead;
    std::array<uint64_t, 2> bytes{};
  };

  const Run& run(ConfigId from);
  ConfigId make_step(ConfigId from, uint8_t byte);
  StackId push(StateId back_to, StackId below);
  void visit(Thread thread);
  void close();
  ConfigId intern();

  const Automaton* automaton_;
  size_t n_classes_;
  std::array<uint8_t, 256> class_of_;  // of bytes
  std::vector<Frame> frames_;
  std::unordered_map<uint64_t, StackId> stack_ids_;
  std::vector<Config> configs_;
  std::vector<Thread> threads_;
  std::vector<ConfigId> steps_;                      // [configs, byte classes]
  std::unordered_multimap<uint64_t, ConfigId> ids_;  // by hash of the threads
  std::unordered_map<StackId, ConfigId> returns_;
  std::unordered_map<ConfigId, Run> runs_;
  bool overflowed_ = false;

  // The config being made.
  std::vector<Thread> seen_, kept_;
  std::unordered_map<uint64_t, bool> seen_many_;
  bool seen_end_ = false;
};

}  // namespace lm::grammar
