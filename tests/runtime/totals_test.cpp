// What the engine counts of the requests that it has served.
#include <atomic>

#include "engine/runtime/engine.h"
#include "tests/runtime/support.h"

namespace lm {
namespace {

using test::Listener;
using test::ModelFile;

std::unique_ptr<Engine> start(const ModelFile& file, int max_seqs, int max_step_tokens = 32) {
  InstanceOptions options = test::options_for(file.path());
  options.max_seqs = max_seqs;
  options.max_step_tokens = max_step_tokens;
  return Engine::start(test::open(options));
}

TEST_CASE("the totals add up") {
  const ModelFile file(test::tiny_model("llama"));
  const auto engine = start(file, 2);
  const Timings first = test::run(*engine, test::sampled_request({1, 2, 3}, 7, 1)).timings;
  CHECK(first.steps == 7);
  CHECK(engine->totals().steps == 7);  // whoever heard of a token can read of its pass
  const Timings second = test::run(*engine, test::sampled_request({1, 2, 3}, 5, 2)).timings;
  REQUIRE(test::comes_to_rest(*engine));
  const EngineTotals totals = engine->totals();
  CHECK(totals.steps == uint64_t(first.steps + second.steps));
  CHECK(totals.queue_seconds == first.queue_seconds + second.queue_seconds);
  CHECK(totals.first_token_seconds == first.first_token_seconds() + second.first_token_seconds());
  CHECK(totals.generate_seconds == first.generate_seconds + second.generate_seconds);
  CHECK(totals.step_bytes == engine->instance().weight_bytes());
  CHECK(totals.step_seconds > 0);
  CHECK(totals.bytes_per_second() ==
        double(totals.step_bytes) * double(totals.steps) / totals.step_seconds);
  CHECK(totals.samples == 2);
  CHECK(totals.first_tokens == 2);
  CHECK(totals.prompt_tokens == 6);
  CHECK(totals.cached_tokens == 2);
  CHECK(totals.generated_tokens == 12);
}

TEST_CASE("the totals leave out the prompt of an answer that never began") {
  const ModelFile file(test::tiny_model("llama"));
  const auto engine = start(file, 1);
  std::atomic<bool> cancelled{false};
  Listener first, never;
  Request request = test::sampled_request({1, 2, 3}, 50, 1);
  first.attach(request);
  request.on_token = [&cancelled, hear = request.on_token](const TokenEvent& event) {
    hear(event);
    cancelled.wait(false);  // the only place is taken until then
  };
  test::require_ok(engine->submit(std::move(request)));
  first.wait_for_tokens(1);
  request = test::sampled_request({4, 5, 6, 7}, 50, 2);
  never.attach(request);
  engine->cancel(test::require_ok(engine->submit(std::move(request))));
  cancelled = true;
  cancelled.notify_one();
  const Timings timings = first.wait().timings;
  CHECK(never.wait().finish == Finish::cancelled);
  const EngineTotals totals = engine->totals();
  CHECK(totals.samples == 2);
  CHECK(totals.prompt_tokens == 3);
  CHECK(totals.first_tokens == 1);
  CHECK(totals.first_token_seconds == timings.first_token_seconds());
  CHECK(totals.queue_seconds > timings.queue_seconds);
}

TEST_CASE("totals count of a prompt what was read before it was cancelled") {
  const ModelFile file(test::tiny_model("llama"));
  const auto engine = start(file, 2, 8);
  Listener first, second;
  // The first one's second token finds the other inside its prompt, which takes many passes.
  Request request = test::sampled_request({1, 2, 3}, 50, 1);
  first.attach(request);
  std::atomic<RequestId> other = 0;
  request.on_token = [&, hear = std::move(request.on_token)](const TokenEvent& event) {
    hear(event);
    other.wait(0);
    if (event.step == 4) engine->cancel(other);
  };
  test::require_ok(engine->submit(std::move(request)));
  request = test::sampled_request(test::random_tokens(7, 100, 200), 50, 2);
  second.attach(request);
  other = test::require_ok(engine->submit(std::move(request)));
  other.notify_all();
  const Timings whole = first.wait().timings, cut = second.wait().timings;
  CHECK(whole.read_tokens == 3);
  CHECK(cut.prompt_tokens == 100);
  CHECK(cut.read_tokens > 0);
  CHECK(cut.read_tokens < 40);
  CHECK(engine->totals().prompt_tokens == uint64_t(3 + cut.read_tokens));
}

}  // namespace
}  // namespace lm
