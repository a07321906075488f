#include "engine/grammar/automaton.h"

#include <algorithm>
#include <array>

#include "engine/core/text.h"
#include "engine/grammar/limits.h"
#include "engine/grammar/rule_nfa.h"

namespace lm::grammar {

class AutomatonBuilder {
 public:
  AutomatonBuilder(const Grammar& grammar, const CharSet& spellable)
      : grammar_(grammar), spellable_(spellable) {}

  Result<Automaton> run() {
    LM_TRY(grammar_.check_size());
    LM_TRY(build_rules());
    useful_ = reaching_end(true);
    if (!useful_[rule_start_[0]]) {
      return Error{ErrorCode::unsupported,
                   spellable_.ranges() == CharSet::all().ranges()
                       ? "expected a grammar that some text satisfies, found one that none does"
                       : "expected a grammar that some text satisfies, found none that this "
                         "model's vocabulary can spell"};
    }
    LM_TRY(check_left_recursion());
    write_out();
    return std::move(out_);
  }

 private:
  static constexpr uint32_t kNoStart = kUnbounded;

  struct State {
    std::vector<Edge> bytes;
    std::vector<Edge> calls;  // `first` is the rule
    bool accepts;
  };

  // The root's automaton, and those of all rules that are called from one that was built.
  Status build_rules() {
    const InlineRules inlined(grammar_);
    rule_start_.assign(grammar_.rules().size(), kNoStart);
    std::vector<RuleId> queue{0};
    rule_start_[0] = 0;
    Work work;
    size_t size = 0;
    for (size_t i = 0; i < queue.size(); ++i) {
      const Dfa dfa = LM_TRY(determinize(rule_nfa(grammar_, queue[i], inlined, spellable_), work));
      const auto offset = uint32_t(states_.size());
      rule_start_[queue[i]] = offset;
      rules_.push_back(queue[i]);
      for (const Dfa::State& state : dfa.states) {
        size += 1 + state.edges.size();
        append_state(state, offset, queue);
      }
      if (size > 4 * kMaxDfaStates || states_.size() > kMaxDfaStates) {
        return Error{ErrorCode::unsupported, concat("expected a grammar of at most ", kMaxDfaStates,
                                                    " states, found a larger one")};
      }
    }
    return ok();
  }

  void append_state(const Dfa::State& from, uint32_t offset, std::vector<RuleId>& queue) {
    State state{{}, {}, from.accepts};
    for (const Edge& edge : from.edges) {
      // The subset construction may have joined bytes and calls that lead to one state.
      if (edge.first < kCallSymbol) {
        state.bytes.push_back({edge.first, std::min(edge.last, kCallSymbol - 1), edge.to + offset});
      }
      const uint32_t first_call = std::max(edge.first, kCallSymbol);
      for (uint32_t symbol = first_call; symbol <= edge.last; ++symbol) {
        const RuleId rule = symbol - kCallSymbol;
        state.calls.push_back({rule, rule, edge.to + offset});
        if (rule_start_[rule] != kNoStart) continue;
        rule_start_[rule] = 0;  // known, its place will follow
        queue.push_back(rule);
      }
    }
    states_.push_back(std::move(state));
  }

  // Which states can reach the end of their rule, over bytes too or over calls alone: a fixed
  // point, since what is called must reach its own end first.
  std::vector<bool> reaching_end(bool over_bytes) const {
    const size_t n = states_.size();
    std::vector<bool> reaching(n, false);
    std::vector<std::vector<uint32_t>> sources(n);  // over bytes, and over calls that return
    std::vector<std::vector<std::pair<uint32_t, uint32_t>>> waiting(n);  // by start: (from, to)
    std::vector<uint32_t> queue;
    const auto mark = [&](uint32_t state) {
      if (!reaching[state]) queue.push_back(state);
      reaching[state] = true;
    };
    for (uint32_t s = 0; s < n; ++s) {
      for (const Edge& edge : states_[s].bytes) {
        if (over_bytes) sources[edge.to].push_back(s);
      }
      for (const Edge& call : states_[s].calls) {
        waiting[rule_start_[call.first]].emplace_back(s, call.to);
      }
      if (states_[s].accepts) mark(s);
    }
    for (size_t i = 0; i < queue.size(); ++i) {
      const uint32_t state = queue[i];
      for (const auto& [from, to] : waiting[state]) {  // `state` starts a rule that has an end
        sources[to].push_back(from);
        if (reaching[to]) mark(from);
      }
      for (const uint32_t source : sources[state]) mark(source);
    }
    return reaching;
  }

  // Rules that can be called before any byte is taken must not form a circle: the stack would grow
  // for ever. Nodes are states; an edge leads to a called rule's start, and past a nullable call.
  Status check_left_recursion() const {
    const std::vector<bool> nullable = reaching_end(false);
    enum : uint8_t { unseen, open, closed };
    std::vector<uint8_t> seen(states_.size(), unseen);
    struct Visit {
      uint32_t state;
      size_t next = 0;  // call
      bool entered = false;
    };
    for (const RuleId rule : rules_) {
      std::vector<Visit> path;
      if (seen[rule_start_[rule]] == unseen) path.push_back({rule_start_[rule]});
      while (!path.empty()) {
        Visit& visit = path.back();
        seen[visit.state] = open;
        if (visit.next == states_[visit.state].calls.size()) {
          seen[visit.state] = closed;
          path.pop_back();
          continue;
        }
        const Edge& call = states_[visit.state].calls[visit.next];
        const uint32_t start = rule_start_[call.first];
        if (!useful_[start] || !useful_[call.to]) {
          ++visit.next;
          continue;
        }
        uint32_t to = start;
        if (visit.entered) {
          to = call.to;
          ++visit.next;
          visit.entered = false;
          // Going round without a call of one's own is no recursion: (x*)* with x empty.
          if (!nullable[start] || seen[to] != unseen) continue;
        } else {
          visit.entered = true;
          if (seen[to] == open) return left_recursion(call.first);
        }
        if (seen[to] == unseen) path.push_back({to});
      }
    }
    return ok();
  }

  Error left_recursion(RuleId rule) const {
    return {ErrorCode::unsupported,
            concat("expected every rule to take a character before it comes back to itself, found "
                   "the left-recursive rule \"",
                   printable(grammar_.rules()[rule].name), "\"")};
  }

  void write_out() {
    std::vector<StateId> renamed(states_.size(), 0);
    StateId n = 0;
    for (size_t s = 0; s < states_.size(); ++s) {
      renamed[s] = n;
      if (useful_[s]) ++n;
    }
    for (size_t s = 0; s < states_.size(); ++s) {
      if (useful_[s]) out_.states_.push_back(write_state(states_[s], renamed));
    }
    out_.start_ = renamed[rule_start_[0]];
    for (Automaton::Call& call : out_.calls_) {
      const Automaton::State& back = out_.states_[call.back_to];
      call.is_last = back.accepts && back.n_edges == 0 && back.n_calls == 0;
    }
    find_byte_classes();
  }

  Automaton::State write_state(const State& from, const std::vector<StateId>& renamed) {
    Automaton::State state;
    state.accepts = from.accepts;
    state.first_edge = uint32_t(out_.edges_.size());
    for (const Edge& edge : from.bytes) {
      if (!useful_[edge.to]) continue;
      out_.edges_.push_back({uint8_t(edge.first), uint8_t(edge.last), renamed[edge.to]});
    }
    state.n_edges = uint32_t(out_.edges_.size()) - state.first_edge;
    state.first_call = uint32_t(out_.calls_.size());
    for (const Edge& call : from.calls) {
      const uint32_t start = rule_start_[call.first];
      if (!useful_[call.to] || !useful_[start]) continue;
      out_.calls_.push_back({renamed[start], renamed[call.to], false});
    }
    state.n_calls = uint32_t(out_.calls_.size()) - state.first_call;
    return state;
  }

  void find_byte_classes() {
    std::array<bool, 257> begins{};
    begins[0] = true;
    for (const Automaton::ByteEdge& edge : out_.edges_) {
      begins[edge.first] = true;
      begins[size_t{edge.last} + 1] = true;
    }
    out_.byte_class_.resize(256);
    for (size_t byte = 0; byte < 256; ++byte) {
      if (begins[byte]) ++out_.n_classes_;
      out_.byte_class_[byte] = uint8_t(out_.n_classes_ - 1);
    }
  }

  const Grammar& grammar_;
  const CharSet& spellable_;
  std::vector<State> states_;
  std::vector<uint32_t> rule_start_;  // by rule; kNoStart: not called
  std::vector<RuleId> rules_;         // those that were built
  std::vector<bool> useful_;
  Automaton out_;
};

Result<Automaton> Automaton::compile(const Grammar& grammar, const CharSet& spellable) {
  return AutomatonBuilder(grammar, spellable).run();
}

}  // namespace lm::grammar
