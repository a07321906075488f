#include "engine/grammar/automata.h"

#include <algorithm>
#include <deque>
#include <string>
#include <unordered_map>

#include "engine/grammar/limits.h"

namespace lm::grammar {
namespace {

using StateSet = std::vector<uint32_t>;  // ascending

struct StateSetHash {
  size_t operator()(const StateSet& set) const {
    uint64_t h = 0xcbf29ce484222325;  // FNV-1a over the ids
    for (const uint32_t state : set) h = (h ^ state) * 0x100000001b3;
    return size_t(h ^ h >> 32);
  }
};

// Adds an edge, or widens the last one when it goes to the same state and touches.
void append_edge(std::vector<Edge>& edges, Edge edge) {
  if (!edges.empty() && edges.back().to == edge.to && edges.back().last + 1 == edge.first) {
    edges.back().last = edge.last;
  } else {
    edges.push_back(edge);
  }
}

class SubsetConstruction {
 public:
  SubsetConstruction(const Nfa& nfa, Work& work)
      : nfa_(nfa), work_(work), mark_(nfa.states().size(), 0) {}

  Result<Dfa> run() {
    if (nfa_.full()) return too_much_work();
    add_start();
    while (!queue_.empty()) {
      const auto [id, set] = std::move(queue_.front());
      queue_.pop_front();
      expand(id, set);
      if (work_.exhausted() || dfa_.states.size() > kMaxDfaStates) return too_much_work();
    }
    return std::move(dfa_);
  }

 private:
  bool follows(Nfa::When when, bool start, bool end) const {
    return when == Nfa::When::always || (when == Nfa::When::at_start && start) ||
           (when == Nfa::When::at_end && end);
  }

  // All states that jumps reach. Only those are kept that something can be told by.
  StateSet closure(const StateSet& from, bool start, bool end) {
    ++epoch_;
    StateSet stack, kept;
    const auto visit = [&](uint32_t state) {
      if (mark_[state] == epoch_) return;
      mark_[state] = epoch_;
      stack.push_back(state);
    };
    for (const uint32_t state : from) visit(state);
    while (!stack.empty()) {
      const uint32_t state = stack.back();
      stack.pop_back();
      work_.spend(1);
      const Nfa::State& s = nfa_.states()[state];
      bool keep = !s.edges.empty() || state == nfa_.final;
      for (const Nfa::Jump& jump : s.jumps) {
        if (follows(jump.when, start, end)) visit(jump.to);
        keep = keep || jump.when == Nfa::When::at_end;
      }
      if (keep) kept.push_back(state);
    }
    std::sort(kept.begin(), kept.end());
    return kept;
  }

  bool contains_final(const StateSet& set) const {
    return std::binary_search(set.begin(), set.end(), nfa_.final);
  }

  void add_start() {
    StateSet set = closure({Nfa::kStart}, true, false);
    dfa_.states.push_back({{}, contains_final(closure({Nfa::kStart}, true, true))});
    queue_.emplace_back(0, std::move(set));
  }

  uint32_t id_of(StateSet set) {
    const auto [entry, added] = ids_.try_emplace(set, uint32_t(dfa_.states.size()));
    if (added) {
      dfa_.states.push_back({{}, contains_final(closure(set, false, true))});
      queue_.emplace_back(entry->second, std::move(set));
    }
    return entry->second;
  }

  // Cuts the edges of a set into pieces within which the same of them apply.
  void expand(uint32_t id, const StateSet& set) {
    std::vector<Edge> edges;
    std::vector<uint64_t> cuts;
    for (const uint32_t state : set) {
      for (const Edge& edge : nfa_.states()[state].edges) {
        edges.push_back(edge);
        cuts.push_back(edge.first);
        cuts.push_back(uint64_t(edge.last) + 1);
      }
    }
    std::sort(edges.begin(), edges.end(),
              [](const Edge& a, const Edge& b) { return a.first < b.first; });
    std::sort(cuts.begin(), cuts.end());
    cuts.erase(std::unique(cuts.begin(), cuts.end()), cuts.end());
    std::vector<Edge> active, out;
    size_t next = 0;
    for (size_t i = 0; i + 1 < cuts.size() && !work_.exhausted(); ++i) {
      std::erase_if(active, [&](const Edge& e) { return e.last < cuts[i]; });
      for (; next < edges.size() && edges[next].first == cuts[i]; ++next) {
        active.push_back(edges[next]);
      }
      work_.spend(active.size() + 1);
      if (active.empty()) continue;
      StateSet targets;
      for (const Edge& edge : active) targets.push_back(edge.to);
      const uint32_t to = id_of(closure(targets, false, false));
      append_edge(out, {uint32_t(cuts[i]), uint32_t(cuts[i + 1] - 1), to});
    }
    dfa_.states[id].edges = std::move(out);
  }

  const Nfa& nfa_;
  Work& work_;
  Dfa dfa_;
  std::vector<uint32_t> mark_;
  uint32_t epoch_ = 0;
  std::unordered_map<StateSet, uint32_t, StateSetHash> ids_;
  std::deque<std::pair<uint32_t, StateSet>> queue_;
};

}  // namespace

Error too_much_work() {
  return {ErrorCode::unsupported,
          "the grammar is too large or too ambiguous: its automaton is beyond the limit"};
}

uint32_t Nfa::add_state() {
  if (full()) return 0;
  ++size_;
  states_.emplace_back();
  return uint32_t(states_.size() - 1);
}

void Nfa::add_edge(uint32_t from, uint32_t first, uint32_t last, uint32_t to) {
  if (full()) return;
  ++size_;
  states_[from].edges.push_back({first, last, to});
}

void Nfa::add_jump(uint32_t from, uint32_t to, When when) {
  if (full()) return;
  ++size_;
  states_[from].jumps.push_back({to, when});
}

bool Nfa::full() const {
  return size_ >= kMaxNfaSize;
}

int64_t Dfa::step(uint32_t state, uint32_t symbol) const {
  const std::vector<Edge>& edges = states[state].edges;
  const auto after = std::upper_bound(edges.begin(), edges.end(), symbol,
                                      [](uint32_t x, const Edge& e) { return x < e.first; });
  if (after == edges.begin() || symbol > std::prev(after)->last) return -1;
  return std::prev(after)->to;
}

Result<Dfa> determinize(const Nfa& nfa, Work& work) {
  return SubsetConstruction(nfa, work).run();
}

Result<Dfa> intersect(const Dfa& a, const Dfa& b, Work& work) {
  Dfa both;
  std::unordered_map<uint64_t, uint32_t> ids;
  std::vector<std::pair<uint32_t, uint32_t>> pairs;
  const auto id_of = [&](uint32_t x, uint32_t y) {
    const auto [entry, added] =
        ids.try_emplace(uint64_t(x) << 32 | y, uint32_t(both.states.size()));
    if (added) {
      both.states.push_back({{}, a.states[x].accepts && b.states[y].accepts});
      pairs.emplace_back(x, y);
    }
    return entry->second;
  };
  id_of(0, 0);
  for (size_t i = 0; i < pairs.size(); ++i) {
    if (both.states.size() > kMaxDfaStates || work.exhausted()) return too_much_work();
    const std::vector<Edge>& left = a.states[pairs[i].first].edges;
    const std::vector<Edge>& right = b.states[pairs[i].second].edges;
    std::vector<Edge> edges;
    for (size_t l = 0, r = 0; l < left.size() && r < right.size();) {
      work.spend(1);
      const uint32_t first = std::max(left[l].first, right[r].first);
      const uint32_t last = std::min(left[l].last, right[r].last);
      if (first <= last) append_edge(edges, {first, last, id_of(left[l].to, right[r].to)});
      if (left[l].last < right[r].last) {
        ++l;
      } else {
        ++r;
      }
    }
    both.states[i].edges = std::move(edges);
  }
  return trim(both);
}

Dfa complement(const Dfa& dfa, uint32_t last_symbol) {
  Dfa out;
  const auto rest = uint32_t(dfa.states.size());  // where everything is accepted
  for (const Dfa::State& state : dfa.states) {
    Dfa::State inverse{{}, !state.accepts};
    uint64_t next = 0;
    for (const Edge& edge : state.edges) {
      if (edge.first > next) append_edge(inverse.edges, {uint32_t(next), edge.first - 1, rest});
      append_edge(inverse.edges, edge);
      next = uint64_t(edge.last) + 1;
    }
    if (next <= last_symbol) append_edge(inverse.edges, {uint32_t(next), last_symbol, rest});
    out.states.push_back(std::move(inverse));
  }
  out.states.push_back({{{0, last_symbol, rest}}, true});
  return trim(out);
}

Dfa trim(const Dfa& dfa) {
  const size_t n = dfa.states.size();
  std::vector<StateSet> sources(n);
  StateSet queue;
  std::vector<bool> useful(n, false);
  for (uint32_t s = 0; s < n; ++s) {
    for (const Edge& edge : dfa.states[s].edges) sources[edge.to].push_back(s);
    if (dfa.states[s].accepts) queue.push_back(s), useful[s] = true;
  }
  for (size_t i = 0; i < queue.size(); ++i) {
    for (const uint32_t source : sources[queue[i]]) {
      if (!useful[source]) queue.push_back(source), useful[source] = true;
    }
  }
  std::vector<uint32_t> renamed(n, 0);
  Dfa out;
  for (uint32_t s = 0; s < n; ++s) {
    renamed[s] = uint32_t(out.states.size());
    if (useful[s] || s == 0) out.states.push_back({{}, dfa.states[s].accepts});
  }
  for (uint32_t s = 0; s < n; ++s) {
    if (!useful[s]) continue;
    for (const Edge& edge : dfa.states[s].edges) {
      if (!useful[edge.to]) continue;
      append_edge(out.states[renamed[s]].edges, {edge.first, edge.last, renamed[edge.to]});
    }
  }
  return out;
}

bool accepts_nothing(const Dfa& trimmed) {
  return trimmed.states[0].edges.empty() && !trimmed.states[0].accepts;
}

bool accepts(const Dfa& dfa, std::u32string_view text) {
  int64_t state = 0;
  for (const char32_t c : text) {
    state = dfa.step(uint32_t(state), c);
    if (state < 0) return false;
  }
  return dfa.states[size_t(state)].accepts;
}

Dfa up_to(std::u32string_view mark, uint32_t last_symbol) {
  // The longest beginning of the mark that seen + symbol ends with.
  const auto next = [&](size_t seen, char32_t symbol) {
    std::u32string text(mark.substr(0, seen));
    text += symbol;
    size_t length = text.size();
    while (!mark.starts_with(std::u32string_view(text).substr(text.size() - length))) --length;
    return uint32_t(length);
  };
  std::u32string symbols(mark);
  std::sort(symbols.begin(), symbols.end());
  symbols.erase(std::unique(symbols.begin(), symbols.end()), symbols.end());
  Dfa dfa;
  dfa.states.resize(mark.size() + 1);
  for (size_t seen = 0; seen < mark.size(); ++seen) {
    std::vector<Edge>& edges = dfa.states[seen].edges;
    uint32_t first = 0;
    for (const char32_t symbol : symbols) {
      if (first < symbol) edges.push_back({first, uint32_t(symbol) - 1, 0});
      edges.push_back({uint32_t(symbol), uint32_t(symbol), next(seen, symbol)});
      first = uint32_t(symbol) + 1;
    }
    if (first <= last_symbol) edges.push_back({first, last_symbol, 0});
  }
  dfa.states.back().accepts = true;
  return dfa;
}

}  // namespace lm::grammar
