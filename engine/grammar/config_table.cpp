#include "engine/grammar/config_table.h"

#include <algorithm>

#include "engine/grammar/limits.h"

namespace lm::grammar {
namespace {

constexpr size_t kFew = 24;  // threads that are faster to search than to hash

uint64_t packed(uint32_t high, uint32_t low) {
  return uint64_t{high} << 32 | low;
}

uint64_t hash_of(std::span<const Thread> threads, bool ends) {
  uint64_t h = ends ? 0x9E3779B97F4A7C15 : 0x2545F4914F6CDD1D;
  for (const Thread& thread : threads) {
    h = (h ^ packed(thread.state, thread.stack)) * 0xBF58476D1CE4E5B9;  // splitmix64's multiplier
    h ^= h >> 31;
  }
  return h;
}

}  // namespace

ConfigTable::ConfigTable(const Automaton& automaton)
    : automaton_(&automaton), n_classes_(automaton.n_byte_classes()) {
  std::copy_n(automaton.byte_class().begin(), class_of_.size(), class_of_.begin());
  frames_.push_back({0, 0});  // kBottom
  (void)intern();             // kDead
  std::fill(steps_.begin(), steps_.end(), kDead);
}

StackId ConfigTable::push(StateId back_to, StackId below) {
  const auto [entry, added] =
      stack_ids_.try_emplace(packed(back_to, below), StackId(frames_.size()));
  if (added) frames_.push_back({back_to, below});
  return entry->second;
}

// Notes a thread that can be reached; once.
void ConfigTable::visit(Thread thread) {
  if (seen_.size() >= kMaxThreads * 4) {
    overflowed_ = true;
    return;
  }
  if (seen_.size() <= kFew) {
    if (std::find(seen_.begin(), seen_.end(), thread) != seen_.end()) return;
  } else {
    if (seen_many_.empty()) {
      for (const Thread& t : seen_) seen_many_.emplace(packed(t.state, t.stack), true);
    }
    if (!seen_many_.try_emplace(packed(thread.state, thread.stack), true).second) return;
  }
  seen_.push_back(thread);
}

// Follows calls and returns from what was visited.
void ConfigTable::close() {
  for (size_t i = 0; i < seen_.size(); ++i) {
    const Thread thread = seen_[i];
    if (!automaton_->edges(thread.state).empty()) kept_.push_back(thread);
    if (automaton_->accepts(thread.state)) {
      if (thread.stack == kBottom) {
        seen_end_ = true;
      } else {
        const Frame frame = frames_[thread.stack];
        visit({frame.back_to, frame.below});
      }
    }
    for (const Automaton::Call& call : automaton_->calls(thread.state)) {
      visit({call.start, call.is_last ? thread.stack : push(call.back_to, thread.stack)});
    }
  }
}

// The id of the config that was made, and a clean slate for the next.
ConfigId ConfigTable::intern() {
  if (kept_.size() > kMaxThreads) {
    kept_.resize(kMaxThreads);
    overflowed_ = true;
  }
  std::sort(kept_.begin(), kept_.end());
  const uint64_t hash = hash_of(kept_, seen_end_);
  ConfigId id = kUnknown;
  for (auto [at, end] = ids_.equal_range(hash); at != end; ++at) {
    const std::span<const Thread> known = threads(at->second);
    if (ends(at->second) == seen_end_ &&
        std::equal(known.begin(), known.end(), kept_.begin(), kept_.end())) {
      id = at->second;
    }
  }
  if (id == kUnknown && bytes() > kMaxTableBytes) {
    overflowed_ = true;
    id = kDead;
  }
  if (id == kUnknown) {
    id = ConfigId(configs_.size());
    configs_.push_back({uint32_t(threads_.size()), uint32_t(kept_.size()), seen_end_});
    threads_.insert(threads_.end(), kept_.begin(), kept_.end());
    steps_.resize(steps_.size() + n_classes_, kUnknown);
    ids_.emplace(hash, id);
  }
  seen_.clear();
  kept_.clear();
  if (!seen_many_.empty()) seen_many_.clear();
  seen_end_ = false;
  return id;
}

ConfigId ConfigTable::enter(Thread thread) {
  visit(thread);
  close();
  return intern();
}

ConfigId ConfigTable::single(Thread thread) {
  kept_.push_back(thread);
  return intern();
}

ConfigId ConfigTable::make_step(ConfigId from, uint8_t byte) {
  const Config config = configs_[from];
  for (uint32_t i = 0; i < config.n_threads; ++i) {
    const Thread thread = threads_[config.first_thread + i];
    for (const Automaton::ByteEdge& edge : automaton_->edges(thread.state)) {
      if (edge.first <= byte && byte <= edge.last) visit({edge.to, thread.stack});
    }
  }
  close();
  const ConfigId to = intern();
  steps_[size_t{from} * n_classes_ + class_of_[byte]] = to;
  return to;
}

ConfigId ConfigTable::after_return(StackId stack) {
  const auto known = returns_.find(stack);
  if (known != returns_.end()) return known->second;
  const Frame frame = frames_[stack];
  const ConfigId config = enter({frame.back_to, frame.below});
  returns_.emplace(stack, config);
  return config;
}

// What a string takes: each byte leads back to where it was, or to one byte further.
bool ConfigTable::reads_all(ConfigId from, const std::array<uint64_t, 2>& bytes, size_t length) {
  for (size_t i = 0; i < length; ++i) {
    const Run& there = run(from);
    if ((bytes[0] & ~there.bytes[0]) != 0 || (bytes[1] & ~there.bytes[1]) != 0) return false;
    if (there.to == from) return true;
    from = there.to;
  }
  return true;
}

const ConfigTable::Run& ConfigTable::run(ConfigId from) {
  const auto [entry, added] = runs_.try_emplace(from);
  Run& run = entry->second;
  if (!added) return run;
  std::array<ConfigId, 128> to;
  for (size_t byte = 0; byte < to.size(); ++byte) to[byte] = step(from, uint8_t(byte));
  // The usual one, by majority vote (Boyer, Moore 1981): where there is none, any will do.
  size_t votes = 0;
  for (const ConfigId config : to) {
    if (votes == 0) run.to = config;
    votes += config == run.to ? 1 : size_t(-1);
  }
  if (run.to == kDead || ends(run.to)) return run;
  for (size_t byte = 0; byte < to.size(); ++byte) {
    if (to[byte] == run.to) run.bytes[byte / 64] |= uint64_t{1} << (byte % 64);
  }
  return run;
}

ConfigId ConfigTable::adopt(const ConfigTable& other, ConfigId from) {
  std::vector<StateId> path;
  for (Thread thread : other.threads(from)) {
    path.clear();
    for (StackId s = thread.stack; s != kBottom; s = other.frames_[s].below) {
      path.push_back(other.frames_[s].back_to);
    }
    thread.stack = kBottom;
    for (size_t i = path.size(); i-- > 0;) thread.stack = push(path[i], thread.stack);
    kept_.push_back(thread);
  }
  seen_end_ = other.ends(from);
  return intern();
}

size_t ConfigTable::bytes() const {
  constexpr size_t kMapEntry = 48;  // a node of a hash map, its bucket and the allocator's share
  return steps_.capacity() * sizeof(ConfigId) + threads_.capacity() * sizeof(Thread) +
         configs_.capacity() * (sizeof(Config) + kMapEntry) +
         frames_.capacity() * (sizeof(Frame) + 2 * kMapEntry) +
         runs_.size() * (sizeof(Run) + kMapEntry);
}

}  // namespace lm::grammar
