// Ten thousand things that clients do, in any order: every answer ends once, nothing stays behind.
#include <atomic>
#include <thread>
#include <vector>

#include "engine/runtime/engine.h"
#include "tests/runtime/support.h"

namespace lm {
namespace {

// What one client does: it asks, changes its mind, or goes away without a word.
class Client {
 public:
  Client(Engine& engine, uint64_t seed) : engine_(&engine), random_(seed), user_(seed) {}

  void act() {
    if (random_.below(2) == 0) {
      submit();
    } else if (!ids_.empty()) {
      engine_->cancel(ids_[random_.below(ids_.size())]);  // finished ones too
    }
  }

  std::atomic<int> finished{0};
  int expected = 0, refused = 0;

 private:
  void submit() {
    Request request =
        test::sampled_request(test::random_tokens(random_.below(5), 1 + random_.below(40), 200),
                              int(random_.below(6)), random_.next());
    request.user = user_;
    request.n_samples = int(1 + random_.below(2));
    const bool hangs_up = random_.below(4) == 0;
    request.on_token = [this, hangs_up](const TokenEvent& event) {
      if (hangs_up) engine_->cancel(current_);  // whoever was asked for last
      finished += event.finish != Finish::none;
    };
    const int samples = request.n_samples;
    const Result<RequestId> id = engine_->submit(std::move(request));
    if (!id.ok()) {
      refused += id.error().code == ErrorCode::busy;
      REQUIRE(id.error().code == ErrorCode::busy);
      return;
    }
    current_ = id.value();
    ids_.push_back(id.value());
    expected += samples;
  }

  Engine* engine_;
  test::Random random_;
  uint64_t user_;
  std::vector<RequestId> ids_;
  std::atomic<RequestId> current_{0};
};

TEST_CASE("10,000 random submits, cancels and departures: nothing leaks, nothing is stuck") {
  const test::ModelFile file(test::tiny_model("llama"));
  const test::TempDir folder;
  InstanceOptions options = test::options_for(file.path());
  options.n_ctx = 64;
  options.block_size = 4;
  options.max_seqs = 4;
  options.max_step_tokens = 24;
  const auto roomy = test::open(options);
  options.kv_budget = roomy->kv_bytes() / uint64_t(roomy->pool().n_blocks()) * 20;
  EngineOptions engine_options;
  engine_options.max_waiting = 40;
  engine_options.disk = test::require_ok(DiskCache::open({.folder = folder.path() / "cache"}));
  const auto engine = Engine::start(test::open(options), std::move(engine_options));
  std::vector<std::unique_ptr<Client>> clients;
  std::vector<std::thread> threads;
  for (uint64_t i = 0; i < 4; ++i) clients.push_back(std::make_unique<Client>(*engine, i));
  for (const auto& client : clients) {
    threads.emplace_back([&client] {
      for (int event = 0; event < 2500; ++event) client->act();
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& client : clients) {
    while (client->finished < client->expected) std::this_thread::yield();
  }
  REQUIRE(test::comes_to_rest(*engine));
  const EngineTotals totals = engine->totals();
  CHECK(totals.blocks == 20);
  int expected = 0;
  for (const auto& client : clients) {
    expected += client->expected;
    CHECK(client->finished == client->expected);
  }
  CHECK(totals.samples == uint64_t(expected));
}

}  // namespace
}  // namespace lm
