// engine/runtime/guess_brake.h — whether a sequence's next token is worth guessing. A right guess
// hides what the host does between two steps, a tenth of a step or less; a wrong one wastes two:
// its own, and the one that was launched behind it. So guesses pay where hardly one in thirty is
// wrong, and a sequence is trusted until one is. Then none is made for some tokens, for four times
// as many after each further one, and for as few as at first after a run of right ones.
#pragma once
#include <algorithm>

namespace lm {

class GuessBrake {
 public:
  static constexpr int kTrustedRun = 32;                        // guesses
  static constexpr int kFirstPause = 16, kLongestPause = 1024;  // tokens

  // n_tokens: that the sequence has so far.
  bool open(int n_tokens) const { return n_tokens >= opens_at_; }
  void note(bool right, int n_tokens) {
    run_ = right ? std::min(run_ + 1, kTrustedRun) : 0;
    if (run_ == kTrustedRun) pause_ = kFirstPause;
    if (right) return;
    opens_at_ = n_tokens + pause_;
    pause_ = std::min(4 * pause_, kLongestPause);
  }

 private:
  int run_ = 0, pause_ = kFirstPause, opens_at_ = 0;
};

}  // namespace lm
