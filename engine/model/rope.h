// engine/model/rope.h — every way of stretching rotary embeddings, as one table of frequencies.
// The pair i of a head turns by position · inv_freq[i] and grows by `magnitude`; the backends know
// nothing else. Computed once, in double.
#pragma once
#include <span>
#include <vector>

#include "engine/model/config.h"

namespace lm {

struct RopeTable {
  std::vector<float> inv_freq;  // [dims / 2], radians per position
  float magnitude = 1;
};

// `factors` [dims / 2] or empty: divisors of each frequency, from the file (llama3, longrope).
RopeTable make_rope_table(const RopeSpec& spec, std::span<const float> factors);

}  // namespace lm
