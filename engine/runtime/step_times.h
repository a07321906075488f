// engine/runtime/step_times.h — how long a forward pass takes by its number of rows, learned from
// the passes that were run: what a row more would cost.
#pragma once
#include <array>
#include <cstdint>

namespace lm {

class StepTimes {
 public:
  static constexpr int kMaxRows = 64;  // told apart

  // A pass whose every row wanted logits, as decoding and verifying do.
  void note(int rows, double seconds);
  // A pass that only read a prompt. Tells what rows cost in bulk until decoding has shown it.
  void note_prompt(int rows, double seconds);

  bool known() const { return newest_ > 0; }
  // The best guess: the median of the last passes with that many rows, never above a pass with
  // more; between the measured sizes a straight line. Call when known().
  double seconds(int rows) const;
  // Whether such a pass was measured lately.
  bool fresh(int rows) const;

 private:
  static constexpr int kSamples = 5;
  struct Size {
    std::array<double, kSamples> last{};  // a ring
    int n = 0;
    uint64_t newest = 0;  // pass number
    double median = 0;
  };
  void update(int rows);

  std::array<Size, kMaxRows + 1> sizes_;
  std::array<double, kMaxRows + 1> least_{};  // [rows]: the smallest median of that size or more
  int largest_ = 0;                           // size that was measured
  int prompt_rows_ = 0;                       // of the last pass over a prompt that was long enough
  double prompt_seconds_ = 0;
  uint64_t newest_ = 0;
};

}  // namespace lm
