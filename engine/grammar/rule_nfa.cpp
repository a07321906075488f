#include "engine/grammar/rule_nfa.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "engine/core/utf8.h"
#include "engine/grammar/utf8_ranges.h"

namespace lm::grammar {
namespace {

constexpr size_t kSmallRule = 48;      // states that may be repeated at every call
constexpr int kMaxInlineDepth = 12;    // of rules inside rules
constexpr uint32_t kFewCopies = 4;     // of a repetition whose part may be of any size
constexpr uint32_t kPrintable = 0x20;  // JSON strings escape what is below

// A walk over the expressions of one rule. Sizes are rough: states that emit() would make.
class SizeEstimate {
 public:
  explicit SizeEstimate(const Grammar& grammar) : grammar_(grammar) {}

  size_t of_rule(RuleId rule, std::vector<uint32_t>& n_calls) {
    n_calls_ = &n_calls;
    return of(grammar_.rules()[rule].body, 1);
  }

 private:
  // `copies`: how often what is here will be emitted.
  size_t of(ExprId id, size_t copies) {
    const Expr& e = grammar_.expr(id);
    switch (e.kind) {
      case Expr::Kind::nothing:
        return 1;
      case Expr::Kind::text:
        return 1 + grammar_.text_of(e).size();
      case Expr::Kind::chars:
        return 2 + 2 * grammar_.chars_of(e).ranges().size();
      case Expr::Kind::rule:
        (*n_calls_)[e.index] += uint32_t(std::min<size_t>(copies, 2));
        return 2;
      case Expr::Kind::regular:
      case Expr::Kind::json_string:
        return 12 * grammar_.dfa_of(e).states.size();
      case Expr::Kind::repeat: {
        const size_t n = e.most == kUnbounded ? size_t{e.least} + 1 : e.most;
        return saturating(n, of(grammar_.children(e)[0], n > kFewCopies ? 2 : copies));
      }
      case Expr::Kind::sequence:
      case Expr::Kind::choice: {
        size_t total = 1;
        for (const ExprId child : grammar_.children(e)) {
          total = std::min(total + of(child, copies), kHuge);
        }
        return total;
      }
    }
    return 0;
  }

  static constexpr size_t kHuge = size_t{1} << 30;
  static size_t saturating(size_t n, size_t each) { return std::min(n * each + 1, kHuge); }

  const Grammar& grammar_;
  std::vector<uint32_t>* n_calls_ = nullptr;
};

void collect_calls(const Grammar& grammar, ExprId id, std::vector<RuleId>& out) {
  const Expr& e = grammar.expr(id);
  if (e.kind == Expr::Kind::rule) out.push_back(e.index);
  for (const ExprId child : grammar.children(e)) collect_calls(grammar, child, out);
}

// Rules that can come to call themselves: those left when rules without (remaining) calls are taken
// away again and again (Kahn's order). Also marks rules that only lead to such; which costs nothing
// but their being called.
std::vector<bool> recursive_rules(const Grammar& grammar) {
  const size_t n = grammar.rules().size();
  std::vector<std::vector<RuleId>> callers(n);
  std::vector<size_t> remaining(n, 0);
  std::vector<RuleId> done;
  for (RuleId r = 0; r < n; ++r) {
    std::vector<RuleId> calls;
    collect_calls(grammar, grammar.rules()[r].body, calls);
    std::sort(calls.begin(), calls.end());
    calls.erase(std::unique(calls.begin(), calls.end()), calls.end());
    remaining[r] = calls.size();
    for (const RuleId called : calls) callers[called].push_back(r);
    if (calls.empty()) done.push_back(r);
  }
  std::vector<bool> recursive(n, true);
  for (size_t i = 0; i < done.size(); ++i) {
    recursive[done[i]] = false;
    for (const RuleId caller : callers[done[i]]) {
      if (--remaining[caller] == 0) done.push_back(caller);
    }
  }
  return recursive;
}

class Emitter {
 public:
  Emitter(const Grammar& grammar, const InlineRules& inlined, const CharSet& spellable)
      : grammar_(grammar), inlined_(inlined), spellable_(spellable) {}

  Nfa run(RuleId rule) {
    nfa_.final = nfa_.add_state();
    emit(grammar_.rules()[rule].body, Nfa::kStart, nfa_.final, 0, false);
    return std::move(nfa_);
  }

 private:
  // Adds paths from one state to another. `copied`: this is one of many copies.
  void emit(ExprId id, uint32_t from, uint32_t to, int depth, bool copied) {
    if (nfa_.full()) return;
    const Expr& e = grammar_.expr(id);
    switch (e.kind) {
      case Expr::Kind::nothing:
        return;
      case Expr::Kind::text:
        return emit_text(grammar_.text_of(e), from, to);
      case Expr::Kind::chars:
        return emit_chars(grammar_.chars_of(e), from, to);
      case Expr::Kind::rule:
        return emit_call(e.index, from, to, depth, copied);
      case Expr::Kind::regular:
        return emit_dfa(grammar_.dfa_of(e), from, to, false);
      case Expr::Kind::json_string:
        return emit_json_string(grammar_.dfa_of(e), from, to);
      case Expr::Kind::choice:
        for (const ExprId child : grammar_.children(e)) emit(child, from, to, depth, copied);
        return;
      case Expr::Kind::sequence:
        return emit_sequence(grammar_.children(e), from, to, depth, copied);
      case Expr::Kind::repeat:
        return emit_repeat(e, from, to, depth, copied);
    }
  }

  void emit_sequence(std::span<const ExprId> parts, uint32_t from, uint32_t to, int depth,
                     bool copied) {
    uint32_t at = from;
    for (const ExprId part : parts) {
      const uint32_t next = nfa_.add_state();
      emit(part, at, next, depth, copied);
      at = next;
    }
    nfa_.add_jump(at, to);
  }

  void emit_repeat(const Expr& e, uint32_t from, uint32_t to, int depth, bool copied) {
    const ExprId part = grammar_.children(e)[0];
    const bool many = copied || std::max(e.least, e.most == kUnbounded ? 0 : e.most) > kFewCopies;
    uint32_t at = from;
    const auto copy = [&] {
      const uint32_t next = nfa_.add_state();
      emit(part, at, next, depth, many);
      at = next;
    };
    for (uint32_t i = 0; i < e.least && !nfa_.full(); ++i) copy();
    if (e.most == kUnbounded) {
      const uint32_t loop = nfa_.add_state();
      nfa_.add_jump(at, loop);
      emit(part, loop, loop, depth, many);
      at = loop;
    } else {
      for (uint32_t i = e.least; i < e.most && !nfa_.full(); ++i) {
        nfa_.add_jump(at, to);
        copy();
      }
    }
    nfa_.add_jump(at, to);
  }

  void emit_call(RuleId rule, uint32_t from, uint32_t to, int depth, bool copied) {
    const bool in_place = copied ? inlined_.always(rule) : inlined_.once(rule);
    if (in_place && depth < kMaxInlineDepth) {
      emit(grammar_.rules()[rule].body, from, to, depth + 1, copied);
    } else {
      nfa_.add_edge(from, kCallSymbol + rule, kCallSymbol + rule, to);
    }
  }

  void emit_byte(ByteRange byte, uint32_t from, uint32_t to) {
    nfa_.add_edge(from, byte.first, byte.last, to);
  }

  void emit_text(std::string_view text, uint32_t from, uint32_t to) {
    for (std::string_view rest = text; !rest.empty();) {
      const utf8::Decoded decoded = utf8::decode(rest);
      if (!spellable_.contains(decoded.code_point)) return;
      rest.remove_prefix(size_t(decoded.length));
    }
    uint32_t at = from;
    for (const char c : text) {
      const uint32_t next = nfa_.add_state();
      emit_byte({uint8_t(c), uint8_t(c)}, at, next);
      at = next;
    }
    nfa_.add_jump(at, to);
  }

  // Sequences that end alike share their last states.
  void emit_chars(const CharSet& set, uint32_t from, uint32_t to) {
    sequences_.clear();
    const CharSet wanted = set.intersect(spellable_);
    for (const CharRange& range : wanted.ranges()) append_utf8(sequences_, range);
    tails_.clear();
    for (const ByteSequence& sequence : sequences_) {
      if (nfa_.full()) return;
      uint32_t next = to;
      for (int i = sequence.length - 1; i > 0; --i) {
        const ByteRange byte = sequence.bytes[size_t(i)];
        const auto [tail, added] = tails_.try_emplace({byte.first, byte.last, next}, 0);
        if (added) {
          tail->second = nfa_.add_state();
          emit_byte(byte, tail->second, next);
        }
        next = tail->second;
      }
      emit_byte(sequence.bytes[0], from, next);
    }
  }

  void emit_dfa(const Dfa& dfa, uint32_t from, uint32_t to, bool escaped) {
    std::vector<uint32_t> states(dfa.states.size());
    for (uint32_t& state : states) state = nfa_.add_state();
    nfa_.add_jump(from, states[0]);
    for (size_t i = 0; i < states.size() && !nfa_.full(); ++i) {
      if (dfa.states[i].accepts) nfa_.add_jump(states[i], to);
      // Edges to one state together: they share more.
      std::map<uint32_t, std::vector<CharRange>> by_target;
      for (const Edge& edge : dfa.states[i].edges) {
        by_target[edge.to].push_back({edge.first, edge.last});
      }
      for (auto& [target, ranges] : by_target) {
        const CharSet set(std::move(ranges));
        if (escaped) {
          emit_json_chars(set, states[i], states[target]);
        } else {
          emit_chars(set, states[i], states[target]);
        }
      }
    }
  }

  void emit_json_string(const Dfa& dfa, uint32_t from, uint32_t to) {
    const uint32_t begin = nfa_.add_state(), end = nfa_.add_state();
    emit_text("\"", from, begin);
    emit_dfa(dfa, begin, end, true);
    emit_text("\"", end, to);
  }

  // As they are where JSON allows it, else in their shortest escape.
  void emit_json_chars(const CharSet& set, uint32_t from, uint32_t to) {
    static const CharSet kPlain({{kPrintable, '"' - 1}, {'"' + 1, '\\' - 1}, {'\\' + 1, 0x10FFFF}});
    static const CharSet kEscaped({{0, kPrintable - 1}, {'"', '"'}, {'\\', '\\'}});
    emit_chars(set.intersect(kPlain), from, to);
    const CharSet escaped = set.intersect(kEscaped);
    if (escaped.empty() || !spellable_.contains('\\')) return;
    const uint32_t backslash = nfa_.add_state();
    emit_byte({'\\', '\\'}, from, backslash);
    std::vector<CharRange> letters;
    std::vector<CharRange> last_digits[2];  // of \u000_ and \u001_
    for (const CharRange& range : escaped.ranges()) {
      for (char32_t c = range.first; c <= range.last; ++c) {
        const size_t special = std::u32string_view(U"\"\\\b\f\n\r\t").find(c);
        if (special != std::u32string_view::npos) {
          const auto letter = char32_t("\"\\bfnrt"[special]);
          letters.push_back({letter, letter});
        } else {
          const auto digit = char32_t("0123456789abcdef"[c & 15]);
          last_digits[c >> 4].push_back({digit, digit});
        }
      }
    }
    emit_chars(CharSet(std::move(letters)), backslash, to);
    for (size_t high = 0; high < 2; ++high) {
      if (last_digits[high].empty()) continue;
      const uint32_t digit = nfa_.add_state();
      emit_text(high == 0 ? "u000" : "u001", backslash, digit);
      emit_chars(CharSet(std::move(last_digits[high])), digit, to);
    }
  }

  const Grammar& grammar_;
  const InlineRules& inlined_;
  const CharSet& spellable_;
  Nfa nfa_;
  std::vector<ByteSequence> sequences_;
  std::map<std::tuple<uint8_t, uint8_t, uint32_t>, uint32_t> tails_;
};

}  // namespace

InlineRules::InlineRules(const Grammar& grammar)
    : small_(grammar.rules().size()), single_(grammar.rules().size()) {
  const std::vector<bool> recursive = recursive_rules(grammar);
  std::vector<uint32_t> n_calls(grammar.rules().size(), 0);
  std::vector<size_t> sizes(grammar.rules().size());
  SizeEstimate estimate(grammar);
  for (RuleId r = 0; r < sizes.size(); ++r) sizes[r] = estimate.of_rule(r, n_calls);
  for (RuleId r = 0; r < sizes.size(); ++r) {
    single_[r] = !recursive[r] && n_calls[r] == 1;
    std::vector<RuleId> calls;
    collect_calls(grammar, grammar.rules()[r].body, calls);
    small_[r] = !recursive[r] && sizes[r] <= kSmallRule && calls.empty();
  }
}

Nfa rule_nfa(const Grammar& grammar, RuleId rule, const InlineRules& inlined,
             const CharSet& spellable) {
  return Emitter(grammar, inlined, spellable).run(rule);
}

}  // namespace lm::grammar
