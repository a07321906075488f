#include "engine/runtime/draft_policy.h"

#include <algorithm>
#include <cmath>

namespace lm {
namespace {

// Experience: the last 32 or so drafts count, and half as much after 512 steps without any.
constexpr double kFading = 1.0 / 32;
constexpr double kHalfLife = 512;
// What is assumed counts as this many drafts: the prior beside everybody's, everybody's beside a
// sequence's own.
constexpr double kPriorWeight = 2, kEverybodyWeight = 4;
// Drafting has to promise more than plain decoding by this much: the numbers are uncertain.
constexpr double kMargin = 1.03;
// Of the time, at most this part goes into finding out whether drafting pays again; a draft model
// must read what it missed first.
constexpr double kExploreFree = 0.01, kExploreCostly = 0.02;
constexpr double kMostSaved = 200;  // of the allowance, in plain steps' shares
// A longer backlog is caught up once, for about so many drafts.
constexpr int kLongBacklog = 8, kInvestment = 32;
constexpr double kLeastHope = 0.3;  // chance of a token that is tried against all odds
// A token that is less likely than this to be reached is not worth its row.
constexpr double kLeastChance = 0.02;

}  // namespace

int Acceptance::bucket(int position) {
  if (position < 4) return position;
  return position < 8 ? 4 : position < 16 ? 5 : 6;
}

Acceptance::Rate Acceptance::rate(int draft_class, int position, uint64_t now) const {
  const Cell& cell = cells_[size_t(draft_class)][size_t(bucket(position))];
  const double kept = std::exp2(-double(now - cell.time) / kHalfLife);
  return {cell.rate.right * kept, cell.rate.tried * kept};
}

void Acceptance::note(int draft_class, int accepted, bool refuted, uint64_t now) {
  const int seen = accepted + (refuted ? 1 : 0);
  for (int position = 0; position < seen; ++position) {
    Rate faded = rate(draft_class, position, now);
    faded.right = faded.right * (1 - kFading) + (position < accepted ? 1 : 0);
    faded.tried = faded.tried * (1 - kFading) + 1;
    cells_[size_t(draft_class)][size_t(bucket(position))] = {faded, now};
  }
}

void DraftPolicy::Passes::add(int position, int backlog) {
  if (times_ == nullptr || !times_->known()) return;
  seconds_ -= pass_seconds(position);
  rows_[size_t(position)] += position == 0 ? std::max(backlog, 1) : 1;
  seconds_ += pass_seconds(position);
}

double DraftPolicy::Passes::pass_seconds(int position) const {
  const int rows = rows_[size_t(position)];
  if (rows == 0) return 0;
  const double whole = times_->seconds(rows);
  if (position > 0 || !invest_ || rows <= kLongBacklog) return whole;
  const double usual = times_->seconds(kLongBacklog);
  return usual + (whole - usual) / kInvestment;
}

double DraftPolicy::chance(const DraftChoice& choice, int position, bool hopeful) const {
  const int draft_class = choice.outlook.draft_class;
  const Acceptance::Rate all = everybody_.rate(draft_class, position, now_);
  const Acceptance::Rate own = choice.experience->rate(draft_class, position, now_);
  const double prior = drafter_->prior(draft_class, position);
  const double shared = (all.right + kPriorWeight * prior) / (all.tried + kPriorWeight);
  const double mean = (own.right + kEverybodyWeight * shared) / (own.tried + kEverybodyWeight);
  if (!hopeful) return mean;
  // What is known of others says less about this sequence.
  return std::min(1.0, mean + 0.5 / std::sqrt(1 + own.tried + all.tried / 4));
}

void DraftPolicy::choose(std::span<DraftChoice> choices, int prompt_rows, int max_rows) {
  for (DraftChoice& choice : choices) choice.length = 0;
  explored_.reset();
  const int rows = prompt_rows + int(choices.size());  // of the step without drafts
  const bool possible = std::any_of(choices.begin(), choices.end(), [](const DraftChoice& choice) {
    return choice.outlook.draft_class >= 0 && choice.most > 0;
  });
  if (!possible || max_rows < 1 || !times_.known()) return;
  // What plain decoding costs must be seen now and then.
  if (prompt_rows == 0 && rows <= StepTimes::kMaxRows && !times_.fresh(rows)) return;

  const Plan plain{double(choices.size()), times_.seconds(rows)};
  extend(choices, rows, max_rows, plain);
  const bool any = std::any_of(choices.begin(), choices.end(),
                               [](const DraftChoice& choice) { return choice.length > 0; });
  if (!any && prompt_rows == 0) explore(choices, rows, plain);
}

// Adds one row after the other, each time the one that is most likely to be right, and keeps as
// many as give the most tokens a second.
void DraftPolicy::extend(std::span<DraftChoice> choices, int rows, int max_rows,
                         const Plan& plain) {
  candidates_.assign(choices.size(), {});
  order_.clear();
  for (size_t i = 0; i < choices.size(); ++i) {
    const bool possible = choices[i].outlook.draft_class >= 0 && choices[i].most > 0;
    if (possible) candidates_[i].next = chance(choices[i], 0, false);
  }
  Passes passes(drafter_->step_times(), true);
  double tokens = plain.tokens, best = plain.rate() * kMargin;
  size_t kept = 0;
  while (int(order_.size()) < max_rows) {
    const auto likeliest =
        std::max_element(candidates_.begin(), candidates_.end(),
                         [](const Candidate& a, const Candidate& b) { return a.next < b.next; });
    if (likeliest->next < kLeastChance) break;
    const size_t i = size_t(likeliest - candidates_.begin());
    DraftChoice& choice = choices[i];
    tokens += likeliest->next;
    passes.add(choice.length, choice.outlook.backlog);
    likeliest->reached = likeliest->next;
    ++choice.length;
    order_.push_back(int(i));
    const bool more = choice.length < std::min(choice.most, kMaxDraft);
    likeliest->next = more ? likeliest->reached * chance(choice, choice.length, false) : 0;
    const double seconds = times_.seconds(rows + int(order_.size())) + passes.seconds();
    if (tokens / seconds > best) {
      best = tokens / seconds;
      kept = order_.size();
    }
  }
  for (size_t i = kept; i < order_.size(); ++i) --choices[size_t(order_[i])].length;
}

// Nothing promises to pay: a short draft now and then finds out whether that is still so, where
// it could be otherwise.
void DraftPolicy::explore(std::span<DraftChoice> choices, int rows, const Plan& plain) {
  const StepTimes* draft_times = drafter_->step_times();
  const double share = plain.seconds * (draft_times != nullptr ? kExploreCostly : kExploreFree);
  allowance_ = std::min(allowance_ + share, share * kMostSaved);
  DraftChoice* best = nullptr;
  double hope = 0;
  for (DraftChoice& choice : choices) {
    if (choice.outlook.draft_class < 0 || choice.most < 1) continue;
    const double chance_now = chance(choice, 0, true);
    if (chance_now > hope) hope = chance_now, best = &choice;
  }
  if (best == nullptr) return;
  Passes once(draft_times, false), often(draft_times, true);
  once.add(0, best->outlook.backlog);
  often.add(0, best->outlook.backlog);
  const double expected = times_.seconds(rows + 1);
  const double hoped = times_.fresh(rows + 1) ? expected : plain.seconds;
  // What was measured long ago, perhaps in a bad moment, is measured again when there is nothing
  // else to find out.
  const bool saved_up = allowance_ >= share * kMostSaved;
  const bool may_pay = (plain.tokens + hope) / (hoped + often.seconds()) > plain.rate();
  if (!may_pay && !(saved_up && hope > kLeastHope)) return;
  const double cost = expected - plain.seconds + once.seconds();
  if (cost > allowance_) return;
  allowance_ -= cost;
  explored_ = plain;
  set_aside_ = cost;
  best->length = 1;
}

void DraftPolicy::note_step(int decode_rows, int prompt_rows, double seconds,
                            double draft_seconds) {
  ++now_;
  if (explored_) {  // what it really cost
    const double lost = std::max(0.0, seconds + draft_seconds - explored_->seconds);
    // More than this is the machine's doing.
    allowance_ -= std::min(lost, explored_->seconds + 2 * set_aside_) - set_aside_;
    explored_.reset();
  }
  if (prompt_rows == 0) {
    times_.note(decode_rows, seconds);
  } else {
    times_.note_prompt(decode_rows + prompt_rows, seconds);
  }
}

void DraftPolicy::note_draft(Acceptance& sequence, int draft_class, int accepted, bool refuted) {
  sequence.note(draft_class, accepted, refuted, now_);
  everybody_.note(draft_class, accepted, refuted, now_);
}

}  // namespace lm
