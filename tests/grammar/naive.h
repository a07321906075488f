// tests/grammar/naive.h — what a grammar means, said as plainly as possible: sets of positions that
// an expression can end at. Slow, and independent of every automaton.
#pragma once
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "engine/core/utf8.h"
#include "engine/grammar/grammar.h"
#include "tests/support/support.h"

namespace lm::test {

// Rules must not be left-recursive.
class NaiveMatcher {
 public:
  using Positions = std::set<size_t>;

  NaiveMatcher(const grammar::Grammar& g, std::string_view utf8) : g_(g) {
    while (!utf8.empty()) {
      const utf8::Decoded d = utf8::decode(utf8);
      text_.push_back(d.valid ? d.code_point : char32_t(0x110000));  // no grammar has that
      utf8.remove_prefix(size_t(d.length));
    }
  }

  bool matches() { return ends(g_.rules()[0].body, 0).contains(text_.size()); }

 private:
  Positions ends(grammar::ExprId id, size_t at) {
    const auto known = memo_.find({id, at});
    if (known != memo_.end()) return known->second;
    Positions result = compute(g_.expr(id), at);
    memo_[{id, at}] = result;
    return result;
  }

  Positions after_all(const Positions& from, grammar::ExprId id) {
    Positions result;
    for (const size_t at : from) result.merge(Positions(ends(id, at)));
    return result;
  }

  Positions compute(const grammar::Expr& e, size_t at) {
    using Kind = grammar::Expr::Kind;
    Positions result;
    switch (e.kind) {
      case Kind::nothing:
        break;
      case Kind::text: {
        std::string_view rest = g_.text_of(e);
        for (; !rest.empty(); ++at) {
          const utf8::Decoded d = utf8::decode(rest);
          if (at >= text_.size() || text_[at] != d.code_point) return {};
          rest.remove_prefix(size_t(d.length));
        }
        return {at};
      }
      case Kind::chars:
        if (at < text_.size() && g_.chars_of(e).contains(text_[at])) result.insert(at + 1);
        break;
      case Kind::rule:
        return ends(g_.rules()[e.index].body, at);
      case Kind::choice:
        for (const grammar::ExprId child : g_.children(e)) result.merge(Positions(ends(child, at)));
        break;
      case Kind::sequence:
        result = {at};
        for (const grammar::ExprId child : g_.children(e)) result = after_all(result, child);
        break;
      case Kind::repeat: {
        Positions last = {at};
        for (uint32_t i = 0; i <= e.most && !last.empty(); ++i) {
          if (i >= e.least) {
            const size_t before = result.size();
            result.insert(last.begin(), last.end());
            if (e.most == grammar::kUnbounded && result.size() == before) break;
          }
          if (i < e.most) last = after_all(last, g_.children(e)[0]);
        }
        break;
      }
      case Kind::regular:
      case Kind::json_string:
        FAIL("not for the naive matcher");
    }
    return result;
  }

  const grammar::Grammar& g_;
  std::u32string text_;
  std::map<std::pair<grammar::ExprId, size_t>, Positions> memo_;
};

// A text of the grammar, or nothing when it would take too long.
class RandomText {
 public:
  RandomText(const grammar::Grammar& g, uint64_t seed) : g_(g), random_(seed) {}

  std::string next() {
    std::string out;
    budget_ = 200;
    append(g_.rules()[0].body, out);
    return budget_ > 0 ? out : std::string();
  }

 private:
  void append(grammar::ExprId id, std::string& out) {
    using Kind = grammar::Expr::Kind;
    if (--budget_ <= 0) return;
    const grammar::Expr& e = g_.expr(id);
    const auto children = g_.children(e);
    switch (e.kind) {
      case Kind::text:
        out += g_.text_of(e);
        break;
      case Kind::chars: {
        const auto& ranges = g_.chars_of(e).ranges();
        if (ranges.empty()) break;
        const auto& range = ranges[random_.below(ranges.size())];
        utf8::append(out, range.first + char32_t(random_.below(range.last - range.first + 1)));
        break;
      }
      case Kind::rule:
        append(g_.rules()[e.index].body, out);
        break;
      case Kind::choice:
        append(children[random_.below(children.size())], out);
        break;
      case Kind::sequence:
        for (const grammar::ExprId child : children) append(child, out);
        break;
      case Kind::repeat: {
        const uint64_t most = e.most == grammar::kUnbounded ? e.least + 3 : e.most;
        const uint64_t n = e.least + random_.below(most - e.least + 1);
        for (uint64_t i = 0; i < n; ++i) append(children[0], out);
        break;
      }
      case Kind::nothing:
      case Kind::regular:
      case Kind::json_string:
        break;
    }
  }

  const grammar::Grammar& g_;
  Random random_;
  int budget_ = 0;
};

}  // namespace lm::test
