// After its first token a sampler allocates nothing, whatever its parameters.
#include <vector>

#include "engine/sample/sampler.h"
#include "tests/sample/naive.h"
#include "tests/support/count_allocations.h"
#include "tests/support/support.h"

namespace lm {
namespace {

TEST_CASE("sampling allocates nothing after the first token") {
  test::Random random(77);
  const std::vector<float> base = test::random_logits(random, 5000);
  const std::vector<TokenId> history(300, 7);
  for (int variant = 0; variant < 6; ++variant) {
    CAPTURE(variant);
    SamplingParams params;
    if (variant == 1) params.temperature = 0;
    if (variant == 2) params.top_k = 0;
    if (variant == 3) params.typical_p = 0.9f;
    if (variant == 4) params.mirostat = 2;
    if (variant == 5) {
      params.repeat_penalty = 1.1f;
      params.dry_multiplier = 0.8f;
      params.xtc_probability = 1;
    }
    Sampler sampler(params);
    std::vector<float> logits = base;
    sampler.accept(sampler.sample(logits, history).token);
    const long before = test::allocations;
    for (int i = 0; i < 20; ++i) {
      std::copy(base.begin(), base.end(), logits.begin());
      sampler.accept(sampler.sample(logits, history).token);
    }
    CHECK(test::allocations == before);
  }
}

}  // namespace
}  // namespace lm
