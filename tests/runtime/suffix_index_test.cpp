// The suffix index against a search through the whole text.
#include "engine/runtime/suffix_index.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "tests/support/support.h"

namespace lm {
namespace {

using Tokens = std::vector<TokenId>;

SuffixIndex::Match brute_force(const Tokens& text) {
  SuffixIndex::Match best;
  for (size_t end = text.size() - 1; end > 0; --end) {
    int length = 0;
    while (size_t(length) < end && length < SuffixIndex::kMaxMatch &&
           text[end - 1 - size_t(length)] == text[text.size() - 1 - size_t(length)]) {
      ++length;
    }
    if (length > best.length) best = {length, int(end)};
  }
  return best;
}

void check_text(const Tokens& text) {
  SuffixIndex index;
  Tokens so_far;
  bool same = true;
  for (const TokenId token : text) {
    index.append(token);
    so_far.push_back(token);
    const SuffixIndex::Match found = index.match(), expected = brute_force(so_far);
    same =
        same && found.length == expected.length && (found.length == 0 || found.end == expected.end);
  }
  CHECK(same);
  CHECK(index.size() == int(text.size()));
}

TEST_CASE("the longest suffix seen before, where it was seen last: random texts") {
  test::Random random(1);
  for (const uint64_t n_tokens : {1, 2, 3, 5, 30, 100000}) {
    for (int i = 0; i < 20; ++i) {
      Tokens text(1 + random.below(300));
      for (TokenId& token : text) token = TokenId(random.below(n_tokens));
      check_text(text);
    }
  }
}

TEST_CASE("the longest suffix seen before: copies with changes, longer than the limit") {
  test::Random random(2);
  for (int i = 0; i < 20; ++i) {
    Tokens text;
    for (int j = 0; j < 60; ++j) text.push_back(TokenId(random.below(20)));
    while (text.size() < 700) {
      const size_t from = random.below(text.size()), n = 1 + random.below(80);
      for (size_t k = from; k < from + n && k < text.size(); ++k) {
        const TokenId token = random.below(30) == 0 ? TokenId(random.below(20)) : text[k];
        text.push_back(token);
      }
    }
    check_text(text);
  }
}

TEST_CASE("the longest suffix seen before: periods, runs and words of Fibonacci") {
  for (const size_t period : {1, 2, 3, 31, 32, 33, 50}) {
    Tokens text(400);
    for (size_t i = 0; i < text.size(); ++i) text[i] = TokenId(i % period);
    check_text(text);
    text[200] = -7;  // any number is a token
    check_text(text);
  }
  Tokens a = {0}, b = {0, 1};
  while (b.size() < 900) {
    Tokens next = b;
    next.insert(next.end(), a.begin(), a.end());
    a = std::exchange(b, next);
  }
  check_text(b);
}

TEST_CASE("nothing is found in an empty or a fresh text") {
  SuffixIndex index;
  CHECK(index.match().length == 0);
  index.append(3);
  CHECK(index.match().length == 0);
  index.append(4);
  CHECK(index.match().length == 0);
  index.append(3);
  CHECK(index.match().length == 1);
  CHECK(index.match().end == 1);
}

}  // namespace
}  // namespace lm
