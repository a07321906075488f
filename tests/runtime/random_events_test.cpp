// Clients that come, change their minds and vanish, at random, against the real engine: everybody
// hears one end, nothing stays behind. LLM_RANDOM_EVENTS=10000 makes it as many events.
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "engine/core/text.h"
#include "engine/runtime/engine.h"
#include "tests/runtime/support.h"

namespace lm {
namespace {

using test::ModelFile;

constexpr size_t kMostAtOnce = 10;

int n_events() {
  const char* wanted = std::getenv("LLM_RANDOM_EVENTS");
  return wanted != nullptr ? int(parse_int(wanted).value_or(0)) : 240;
}

struct Client {
  std::atomic<RequestId> id{0};
  std::atomic<bool> gone{false};
  int n_samples = 1;
  int finals = 0;  // under Crowd::mutex
};

// The clients of one engine.
class Crowd {
 public:
  Crowd(Engine& engine, uint64_t seed) : engine_(engine), random_(seed) {}

  void event() {
    switch (random_.below(4)) {
      case 0:
        if (!clients_.empty()) engine_.cancel(anybody().id);
        return;
      case 1:  // the connection is cut: it is found out when the next token is sent
        if (!clients_.empty()) anybody().gone = true;
        return;
      default:
        wait_for_fewer_than(kMostAtOnce);
        submit();
    }
  }

  void wait_for_fewer_than(size_t n) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return unfinished_ < n; });
  }

  void check_ends() {
    const std::lock_guard lock(mutex_);
    for (const auto& client : clients_) REQUIRE(client->finals == client->n_samples);
  }

 private:
  Client& anybody() {  // mostly one of the latest
    const size_t n = clients_.size(), back = random_.below(std::min<size_t>(n, 12));
    return *clients_[n - 1 - back];
  }

  void submit() {
    clients_.push_back(std::make_unique<Client>());
    Client& client = *clients_.back();
    std::vector<TokenId> prompt = test::random_tokens(random_.below(3), 1 + random_.below(60), 200);
    prompt.push_back(TokenId(random_.below(200)));
    Request request = test::sampled_request(std::move(prompt), int(random_.below(40)) - 1, 1);
    request.user = random_.below(3);
    request.sampling.seed = random_.next();
    request.sampling.temperature = random_.below(2) == 0 ? 0.f : 1.f;
    request.n_samples = client.n_samples = random_.below(4) == 0 ? int(1 + random_.below(3)) : 1;
    if (random_.below(6) == 0) request.overflow = Overflow::shift;
    if (request.max_tokens < 0) request.overflow = Overflow::stop;  // or it would never end
    if (random_.below(5) == 0) request.stop = {"a", "the"};
    request.on_token = [this, &client](const TokenEvent& event) { hear(client, event); };
    {
      const std::lock_guard lock(mutex_);
      unfinished_ += size_t(client.n_samples);
    }
    const Result<RequestId> id = engine_.submit(std::move(request));
    REQUIRE(id.ok());
    client.id = id.value();
  }

  void hear(Client& client, const TokenEvent& event) {
    if (client.gone && client.id != 0) engine_.cancel(client.id);
    if (event.finish == Finish::none) return;
    const std::lock_guard lock(mutex_);
    ++client.finals;
    --unfinished_;
    changed_.notify_all();
  }

  Engine& engine_;
  test::Random random_;
  std::deque<std::unique_ptr<Client>> clients_;
  std::mutex mutex_;
  std::condition_variable changed_;
  size_t unfinished_ = 0;  // samples
};

TEST_CASE(
    "random submits, cancels and disconnects: everybody hears one end, nothing stays behind") {
  const int events = n_events();
  for (const char* architecture : {"llama", "gemma3"}) {
    for (const bool drafts : {false, true}) {
      CAPTURE(architecture);
      CAPTURE(drafts);
      const ModelFile file(test::tiny_model(architecture));
      InstanceOptions options = test::options_for(file.path());
      options.n_ctx = 128;
      options.block_size = 8;
      options.max_seqs = 4;
      options.max_step_tokens = 24;
      // Memory for two contexts: there are more who want it.
      InstanceOptions two = options;
      two.max_seqs = 2;
      options.kv_budget = test::open(two)->kv_bytes();
      options.draft_rows = drafts ? 8 : 0;
      EngineOptions engine_options;
      engine_options.max_waiting = 64;
      if (drafts) {
        engine_options.speculation = {.drafter = make_ngram_drafter(), .fixed_length = 4};
      }
      const auto engine = Engine::start(test::open(options), std::move(engine_options));
      Crowd crowd(*engine, drafts ? 11 : 12);
      for (int i = 0; i < events / 4; ++i) crowd.event();
      crowd.wait_for_fewer_than(1);
      crowd.check_ends();
      CHECK(test::comes_to_rest(*engine));
    }
  }
}

TEST_CASE("an engine that ends in the middle of it all tells everybody") {
  const ModelFile file(test::tiny_model("llama"));
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    InstanceOptions options = test::options_for(file.path());
    options.max_seqs = 3;
    auto engine = Engine::start(test::open(options));
    Crowd crowd(*engine, seed);
    for (int i = 0; i < 15; ++i) crowd.event();
    engine.reset();
    crowd.wait_for_fewer_than(1);
    crowd.check_ends();
  }
}

}  // namespace
}  // namespace lm
