// engine/runtime/guess_brake.h — whether a sequence's next token is worth guessing. A right guess
// hides what the host does between two steps, a tenth of a step or less. A wrong one wastes the
// sequence's row in two steps: its own, and the one that was launched behind it. Of a sequence that
// is alone these are two steps, so guesses pay where hardly one in thirty is wrong, and it is
// trusted until one is. Then none is made for some tokens, for four times as many after each
// further one, and for as few as at first after a run of right ones.
//
// Of a step of n rows only 2/n of a step are wasted, but all of them wait for the host while one is
// not guessed: so the pause is shorter by as much.
#pragma once
#include <algorithm>

namespace lm {

class GuessBrake {
 public:
  static constexpr int kTrustedRun = 32;                        // guesses
  static constexpr int kFirstPause = 16, kLongestPause = 1024;  // tokens, of a sequence alone

  // n_tokens: that the sequence has so far.
  bool open(int n_tokens) const { return n_tokens >= opens_at_; }
  // n_rows: of the step that the guess was for. However many, the next token comes without a guess:
  // a draw that its step did not decide needs one that nothing was launched behind.
  void note(bool right, int n_tokens, int n_rows) {
    run_ = right ? std::min(run_ + 1, kTrustedRun) : 0;
    if (run_ == kTrustedRun) pause_ = kFirstPause;
    if (right) return;
    opens_at_ = n_tokens + std::max(pause_ / n_rows, 1);
    pause_ = std::min(4 * pause_, kLongestPause);
  }

 private:
  int run_ = 0, pause_ = kFirstPause, opens_at_ = 0;
};

}  // namespace lm
