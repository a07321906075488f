// engine/runtime/ngram_drafter.cpp — drafts out of the text itself, prompt and answer: a copy of
// what followed the last occurrence of the longest suffix that has occurred before.
#include <algorithm>
#include <array>
#include <unordered_map>

#include "engine/runtime/drafter.h"
#include "engine/runtime/suffix_index.h"

namespace lm {
namespace {

// A class for each range of match lengths: the shortest of each, in tokens.
constexpr std::array<int, kDraftClasses> kLeastMatch = {1, 2, 3, 4, 6, 9, 16, 32};
// How often a token after such a match is right, to begin with: half of the time after three
// tokens of prose, nearly always inside a copy.
constexpr std::array<double, kDraftClasses> kPrior = {0.1, 0.25, 0.4, 0.5, 0.65, 0.8, 0.9, 0.95};

int class_of(int match_length) {
  const auto above = std::upper_bound(kLeastMatch.begin(), kLeastMatch.end(), match_length);
  return int(above - kLeastMatch.begin()) - 1;  // -1: no match
}

class NgramDrafter final : public Drafter {
 public:
  std::string_view name() const override { return "ngram"; }

  DraftOutlook look(uint64_t sequence, std::span<const TokenId> history) override {
    return {.draft_class = class_of(match(sequence, history).length)};
  }

  Status draft(std::span<const DraftTask> tasks) override {
    for (const DraftTask& task : tasks) {
      const SuffixIndex::Match found = match(task.sequence, task.history);
      if (found.length == 0) continue;
      // A copy that reaches the end of the text goes on with its own beginning: a period.
      const size_t period = task.history.size() - size_t(found.end);
      for (int i = 0; i < task.length; ++i) {
        task.draft->push_back(task.history[size_t(found.end) + size_t(i) % period]);
      }
    }
    return ok();
  }

  void forget(uint64_t sequence) override { indices_.erase(sequence); }

  // Every token that was right makes the match longer.
  double prior(int draft_class, int position) const override {
    return kPrior[size_t(class_of(kLeastMatch[size_t(draft_class)] + position))];
  }

 private:
  SuffixIndex::Match match(uint64_t sequence, std::span<const TokenId> history) {
    SuffixIndex& index = indices_[sequence];
    if (size_t(index.size()) > history.size()) index = SuffixIndex();  // the text was cut
    for (const TokenId token : history.subspan(size_t(index.size()))) index.append(token);
    return index.match();
  }

  std::unordered_map<uint64_t, SuffixIndex> indices_;
};

}  // namespace

std::unique_ptr<Drafter> make_ngram_drafter() {
  return std::make_unique<NgramDrafter>();
}

}  // namespace lm
