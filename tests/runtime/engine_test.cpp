// Requests through the engine: what they get back, and that nobody else shows in it.
#include "engine/runtime/engine.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <fstream>
#include <iterator>
#include <mutex>
#include <thread>
#include <vector>

#include "engine/core/utf8.h"
#include "tests/runtime/support.h"

namespace lm {
namespace {

using test::Answer;
using test::Listener;
using test::ModelFile;

InstanceOptions engine_options(const ModelFile& file, int max_seqs) {
  InstanceOptions options = test::options_for(file.path());
  options.n_ctx = 128;
  options.max_seqs = max_seqs;
  options.max_step_tokens = 32;
  return options;
}

// Different in every respect: lengths, samplers, stops.
Request varied_request(uint64_t i, int n_vocab) {
  Request request = test::sampled_request(
      test::random_tokens(i + 100, 1 + size_t(i * 7 % 30), n_vocab), int(20 + i * 13 % 50), i);
  if (i % 4 == 1) {
    request.sampling = SamplingParams();
    request.sampling.seed = i;
  }
  if (i % 4 == 2) request.sampling.mirostat = 2;
  if (i % 4 == 3) {
    request.sampling.repeat_penalty = 1.3f;
    request.sampling.dry_multiplier = 0.8f;
    request.sampling.xtc_probability = 0.5f;
    request.sampling.xtc_threshold = 0.01f;
    request.stop = {"th"};
  }
  return request;
}

std::vector<Answer> answers_alone(const ModelFile& file, uint64_t n) {
  const auto engine = Engine::start(test::open(engine_options(file, 1)));
  std::vector<Answer> answers;
  for (uint64_t i = 0; i < n; ++i) {
    const int n_vocab = engine->instance().config().n_vocab;
    answers.push_back(test::run(*engine, varied_request(i, n_vocab)));
  }
  return answers;
}

TEST_CASE("stories260K, greedy from BOS: the reference text, alone and beside others") {
  LM_FIXTURE(model, "models/stories260K/stories260K.gguf");
  LM_FIXTURE(expected_path, "models/stories260K/greedy_200.txt");
  std::ifstream in(expected_path);
  std::string expected(std::istreambuf_iterator<char>(in), {});
  InstanceOptions options = test::options_for(model);
  options.n_ctx = 256;
  options.max_seqs = 3;
  const auto engine = Engine::start(test::open(options));
  Listener others[2];
  for (uint64_t i = 0; i < 2; ++i) {
    Request request = test::sampled_request({1, 403}, 150, i);
    others[i].attach(request);
    test::require_ok(engine->submit(std::move(request)));
  }
  Request request;
  request.prompt = {1};
  request.sampling.temperature = 0;
  request.max_tokens = 200;
  request.ignore_end = true;
  const Answer answer = test::run(*engine, std::move(request));
  while (!expected.empty() && expected.back() == '\n') expected.pop_back();
  CHECK(answer.text.substr(0, expected.size()) == expected);
  CHECK(answer.text.size() <= expected.size() + 1);
  CHECK(answer.finish == Finish::length);
  CHECK(answer.tokens.size() == 200);
}

TEST_CASE("sixteen at once, each as alone, whatever is preempted") {
  for (const char* architecture : {"llama", "gemma3"}) {
    const ModelFile file(test::tiny_model(architecture));
    const std::vector<Answer> expected = answers_alone(file, 16);
    for (const int n_blocks : {8, 13, 128}) {  // of 16 tokens; one request alone may need 6
      CAPTURE(n_blocks);
      InstanceOptions options = engine_options(file, 16);
      const auto unbounded = test::open(options);
      const uint64_t block_bytes = unbounded->kv_bytes() / uint64_t(unbounded->pool().n_blocks());
      options.kv_budget = block_bytes * uint64_t(n_blocks);
      options.backend.n_threads = n_blocks == 13 ? 3 : 1;
      const auto engine = Engine::start(test::open(options));
      REQUIRE(engine->instance().pool().n_blocks() >= n_blocks);  // more where layers have windows
      std::vector<Listener> listeners(16);
      for (uint64_t i = 0; i < 16; ++i) {
        Request request = varied_request(i, engine->instance().config().n_vocab);
        listeners[i].attach(request);
        test::require_ok(engine->submit(std::move(request)));
      }
      for (size_t i = 0; i < 16; ++i) CHECK(listeners[i].wait() == expected[i]);
    }
  }
}

// Counted in the engine's forward passes, of which each reads a chunk at most of the prompt.
TEST_CASE("a long prompt that arrives holds up no stream for more than a chunk") {
  const ModelFile file(test::tiny_model("llama"));
  InstanceOptions options = engine_options(file, 4);
  options.n_ctx = 4100;
  options.max_step_tokens = 256;
  std::vector<std::vector<uint64_t>> passes(3);  // that the tokens of each stream came from
  std::atomic<bool> asked{false};                // for the long prompt
  std::mutex mutex;
  std::condition_variable changed;
  size_t ended = 0;
  const auto engine = Engine::start(test::open(options));
  for (size_t i = 0; i < 3; ++i) {
    Request request = test::sampled_request({1, 2, 3}, 300, i);
    request.on_token = [&, i](const TokenEvent& event) {
      {
        const std::lock_guard lock(mutex);
        if (event.token >= 0) passes[i].push_back(event.step);
        ended += event.finish != Finish::none;
        changed.notify_all();
      }
      if (i == 2) asked.wait(false);  // so that no stream is over before
    };
    test::require_ok(engine->submit(std::move(request)));
  }
  {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return !passes[2].empty(); });
  }
  const std::vector<TokenId> prompt = test::random_tokens(9, 4000, 200);
  Listener listener;
  Request request = test::sampled_request(prompt, 3, 7);
  listener.attach(request);
  test::require_ok(engine->submit(std::move(request)));
  asked = true;
  asked.notify_one();
  CHECK(listener.wait().timings.steps > 4000 / 128);
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return ended == 3; });
  for (const std::vector<uint64_t>& stream : passes) {
    REQUIRE(stream.size() == 300);
    CHECK(stream.back() - stream.front() == 299);
  }
}

TEST_CASE("cancelling some leaves the others as they are") {
  const ModelFile file(test::tiny_model("llama"));
  const std::vector<Answer> expected = answers_alone(file, 8);
  const auto engine = Engine::start(test::open(engine_options(file, 8)));
  std::vector<Listener> listeners(8);
  std::vector<RequestId> ids;
  for (uint64_t i = 0; i < 8; ++i) {
    Request request = varied_request(i, engine->instance().config().n_vocab);
    listeners[i].attach(request);
    ids.push_back(test::require_ok(engine->submit(std::move(request))));
  }
  for (const size_t i : {1, 4, 6}) {
    listeners[i].wait_for_tokens(i);
    engine->cancel(ids[i]);
  }
  for (size_t i = 0; i < 8; ++i) {
    const Answer& answer = listeners[i].wait();
    CHECK(answer.final_events == 1);
    if (answer.finish != Finish::cancelled) CHECK(answer == expected[i]);
    const bool may_be_cancelled = i == 1 || i == 4 || i == 6;
    CHECK((may_be_cancelled || answer.finish != Finish::cancelled));
    // What came before the cancellation is the beginning of the whole answer.
    REQUIRE(answer.tokens.size() <= expected[i].tokens.size());
    CHECK(std::equal(answer.tokens.begin(), answer.tokens.end(), expected[i].tokens.begin()));
  }
}

TEST_CASE("a cancelled request is in no further step") {
  const ModelFile file(test::tiny_model("llama"));
  std::atomic<RequestId> id{0};
  std::atomic<bool> ended{false};
  std::vector<Finish> events;
  const auto engine = Engine::start(test::open(engine_options(file, 2)));
  Request request = test::sampled_request({1, 2, 3}, 100, 1);
  request.on_token = [&](const TokenEvent& event) {
    events.push_back(event.finish);
    id.wait(0);
    if (events.size() == 5) engine->cancel(id);
    ended = event.finish != Finish::none;
    ended.notify_one();
  };
  id = test::require_ok(engine->submit(std::move(request)));
  id.notify_one();
  ended.wait(false);
  REQUIRE(test::comes_to_rest(*engine));
  REQUIRE(events.size() == 6);
  CHECK(events.back() == Finish::cancelled);
  CHECK(engine->totals().steps == 5);
}

TEST_CASE("a request ends at max_tokens, at the end of the context, or at once") {
  const ModelFile file(test::tiny_model("llama"));
  const auto engine = Engine::start(test::open(engine_options(file, 2)));
  const Answer limited = test::run(*engine, test::sampled_request({1, 2, 3}, 7, 1));
  CHECK(limited.finish == Finish::length);
  CHECK(limited.tokens.size() == 7);
  CHECK(limited.timings.prompt_tokens == 3);
  CHECK(limited.timings.generated_tokens == 7);
  CHECK(limited.timings.prompt_seconds > 0);
  CHECK(limited.timings.generate_seconds > 0);

  const Answer full = test::run(*engine, test::sampled_request({1, 2, 3}, -1, 1));
  CHECK(full.finish == Finish::length);
  CHECK(full.tokens.size() == 125);
  CHECK(std::equal(limited.tokens.begin(), limited.tokens.end(), full.tokens.begin()));

  const Answer nothing = test::run(*engine, test::sampled_request({1, 2, 3}, 0, 1));
  CHECK(nothing.finish == Finish::length);
  CHECK(nothing.tokens.empty());
  CHECK(nothing.text.empty());
}

TEST_CASE("the model's end token stops, and is not part of the answer") {
  const ModelFile file(test::tiny_model("llama"));
  const auto engine = Engine::start(test::open(engine_options(file, 1)));
  const TokenId eos = engine->instance().tokenizer()->eos();
  REQUIRE(eos >= 0);
  Request request = test::sampled_request({1, 5}, 10, 2);
  request.ignore_end = false;
  request.sampling.logit_bias = {{eos, 1e6f}};
  const Answer stopped = test::run(*engine, std::move(request));
  CHECK(stopped.finish == Finish::stop);
  CHECK(stopped.tokens.empty());

  Request ignoring = test::sampled_request({1, 5}, 10, 2);
  ignoring.sampling.logit_bias = {{eos, 1e6f}};
  const Answer ignored = test::run(*engine, std::move(ignoring));
  CHECK(ignored.finish == Finish::length);
  CHECK(ignored.tokens == std::vector<TokenId>(10, eos));
}

TEST_CASE("a stop text ends the answer and is not part of it") {
  LM_FIXTURE(model, "models/stories260K/stories260K.gguf");
  InstanceOptions options = test::options_for(model);
  const auto engine = Engine::start(test::open(options));
  const auto greedy = [] {
    Request request;
    request.prompt = {1};
    request.sampling.temperature = 0;
    request.max_tokens = 60;
    return request;
  };
  const Answer whole = test::run(*engine, greedy());
  for (const std::string stop : {"little girl", "Lily", ". She", "park. One"}) {
    CAPTURE(stop);
    const size_t at = whole.text.find(stop);
    REQUIRE(at != std::string::npos);
    Request request = greedy();
    request.stop = {"never in this text", stop};
    const Answer answer = test::run(*engine, std::move(request));
    CHECK(answer.finish == Finish::stop);
    CHECK(answer.text == whole.text.substr(0, at));
  }
  Request request = greedy();
  request.stop = {whole.text.substr(whole.text.size() - 3) + "?"};  // held back, never completed
  CHECK(test::run(*engine, std::move(request)).text == whole.text);
}

TEST_CASE("the text of the events is whole characters") {
  const ModelFile file(test::tiny_model("llama"));  // byte tokens: random bytes come out
  const auto engine = Engine::start(test::open(engine_options(file, 1)));
  Request request = test::sampled_request({1}, 100, 4);
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false, all_valid = true;
  std::string text;
  request.on_token = [&](const TokenEvent& event) {
    const std::lock_guard lock(mutex);
    for (size_t i = 0; i < event.text.size();) {
      const utf8::Decoded c = utf8::decode(event.text.substr(i));
      all_valid = all_valid && c.valid;
      i += size_t(c.length);
    }
    text += event.text;
    done = event.finish != Finish::none;
    changed.notify_all();
  };
  test::require_ok(engine->submit(std::move(request)));
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return done; });
  CHECK(all_valid);
  CHECK(text.find("\xEF\xBF\xBD") != std::string::npos);  // the bytes were not all characters
}

TEST_CASE("requests that can't be served are refused at the door") {
  const ModelFile file(test::tiny_model("llama"));
  const auto engine = Engine::start(test::open(engine_options(file, 1)));
  const int n_vocab = engine->instance().config().n_vocab;
  const auto code_of = [&](auto change) {
    Request request = test::sampled_request({1, 2}, 4, 1);
    bool heard = false;
    request.on_token = [&heard](const TokenEvent&) { heard = true; };
    change(request);
    const Result<RequestId> result = engine->submit(std::move(request));
    REQUIRE_FALSE(result.ok());
    CHECK_FALSE(heard);
    return result.error().code;
  };
  const ErrorCode bad = ErrorCode::bad_request;
  CHECK(code_of([](Request& r) { r.prompt.clear(); }) == bad);
  CHECK(code_of([](Request& r) { r.prompt[0] = -1; }) == bad);
  CHECK(code_of([&](Request& r) { r.prompt[1] = n_vocab; }) == bad);
  CHECK(code_of([](Request& r) { r.prompt.assign(128, 1); }) == ErrorCode::context_full);
  CHECK(code_of([](Request& r) { r.sampling.temperature = -1; }) == bad);
  CHECK(code_of([&](Request& r) { r.sampling.logit_bias = {{n_vocab, 1.0f}}; }) == bad);
  CHECK(code_of([](Request& r) { r.max_tokens = -2; }) == bad);
  CHECK(code_of([](Request& r) { r.stop = {""}; }) == bad);
  CHECK(code_of([](Request& r) { r.stop = {"\xC3"}; }) == bad);
  CHECK(code_of([](Request& r) { r.stop.assign(1000, "x"); }) == bad);
  CHECK(code_of([](Request& r) { r.stop = {std::string(100000, 'x')}; }) == bad);
}

TEST_CASE("more than may wait are refused, and taken when there is room again") {
  const ModelFile file(test::tiny_model("llama"));
  EngineOptions options;
  options.max_waiting = 2;
  const auto engine = Engine::start(test::open(engine_options(file, 1)), std::move(options));
  std::vector<Listener> listeners(3);
  std::vector<RequestId> ids;
  for (Listener& listener : listeners) {
    Request request = test::sampled_request({1, 2, 3}, -1, 1);
    listener.attach(request);
    ids.push_back(test::require_ok(engine->submit(std::move(request))));
  }
  Request more = test::sampled_request({1}, 1, 1);
  more.n_samples = 4;  // whether or not the others are still there
  const Result<RequestId> refused = engine->submit(std::move(more));
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code == ErrorCode::busy);
  for (const RequestId id : ids) engine->cancel(id);
  for (Listener& listener : listeners) listener.wait();
  const Answer answer = test::run(*engine, test::sampled_request({1}, 3, 1));
  CHECK(answer.finish == Finish::length);
}

TEST_CASE("a context that is shifted goes on with its beginning and its end") {
  const ModelFile file(test::tiny_model("llama"));
  InstanceOptions options = engine_options(file, 2);
  options.n_ctx = 64;
  const auto engine = Engine::start(test::open(options));
  Request request = test::sampled_request(test::random_tokens(1, 50, 200), 100, 3);
  request.overflow = Overflow::shift;
  request.sampling.temperature = 0;
  const Answer shifted = test::run(*engine, std::move(request));
  CHECK(shifted.finish == Finish::length);
  CHECK(shifted.tokens.size() == 100);
  CHECK(shifted.timings.generated_tokens == 100);
  CHECK(shifted.timings.dropped_tokens == 96);  // three times from 64 to 32
  // What comes after a shift is what follows the tokens that are left.
  std::vector<TokenId> left = test::random_tokens(1, 50, 200);
  left.insert(left.end(), shifted.tokens.begin(), shifted.tokens.begin() + 14);
  left.erase(left.begin() + 16, left.begin() + 48);
  Request rest = test::sampled_request(left, 20, 3);
  rest.sampling.temperature = 0;
  const Answer after = test::run(*engine, std::move(rest));
  CHECK(std::equal(after.tokens.begin(), after.tokens.end(), shifted.tokens.begin() + 14));

  Request long_one = test::sampled_request(test::random_tokens(2, 500, 200), 4, 3);
  long_one.overflow = Overflow::shift;
  const Answer of_long = test::run(*engine, std::move(long_one));
  CHECK(of_long.tokens.size() == 4);
  CHECK(of_long.timings.dropped_tokens == 468);
}

// A grammar of nothing but indifference: every token is as likely, so that the noise alone decides.
struct Indifferent final : TokenFilter {
  void apply(std::span<float> logits) override {
    for (float& logit : logits) logit = 0;
  }
  void accept(TokenId) override {}
  std::unique_ptr<TokenFilter> clone() const override { return std::make_unique<Indifferent>(); }
};

TEST_CASE("a context that is shifted draws with noise that it has not had") {
  const ModelFile file(test::tiny_model("llama"));
  InstanceOptions options = engine_options(file, 2);
  const auto drawn = [&](int n_ctx) {
    options.n_ctx = n_ctx;
    Request request = test::sampled_request(test::random_tokens(1, 50, 200), 200, 3);
    request.overflow = Overflow::shift;
    request.filter = std::make_unique<Indifferent>();
    return test::run(*Engine::start(test::open(options)), std::move(request)).tokens;
  };
  CHECK(drawn(64) == drawn(400));  // as if nothing had been dropped
}

struct NothingAllowed final : TokenFilter {
  void apply(std::span<float> logits) override {
    for (float& logit : logits) logit = -INFINITY;
  }
  void accept(TokenId) override {}
  std::unique_ptr<TokenFilter> clone() const override { return std::make_unique<NothingAllowed>(); }
};

TEST_CASE("when no token is allowed the request ends with an error, and the engine goes on") {
  const ModelFile file(test::tiny_model("llama"));
  const auto engine = Engine::start(test::open(engine_options(file, 1)));
  Request request = test::sampled_request({1, 2}, 4, 1);
  request.filter = std::make_unique<NothingAllowed>();
  const Answer answer = test::run(*engine, std::move(request));
  CHECK(answer.finish == Finish::error);
  CHECK_FALSE(answer.error.empty());
  CHECK(test::run(*engine, test::sampled_request({1, 2}, 4, 1)).finish == Finish::length);
}

TEST_CASE("a model without a tokenizer: tokens, no text") {
  test::TempDir folder;
  const auto path = folder.path() / "bare.gguf";
  test::TinyFile tiny = test::write_tiny_model(test::tiny_model("llama"));
  tiny.writer.set_str("tokenizer.ggml.model", "none");
  test::require_ok(tiny.save(path));
  InstanceOptions options = test::options_for(path);
  CHECK_FALSE(Instance::open(test::cpu_registry(), options).ok());
  options.need_tokenizer = false;
  const auto engine = Engine::start(test::open(options));
  CHECK(engine->instance().tokenizer() == nullptr);
  const Answer answer = test::run(*engine, test::sampled_request({1, 2}, 9, 1));
  CHECK(answer.tokens.size() == 9);
  CHECK(answer.text.empty());
}

TEST_CASE("destroying the engine cancels everything, each with one last event") {
  const ModelFile file(test::tiny_model("llama"));
  std::vector<Listener> listeners(12);
  {
    const auto engine = Engine::start(test::open(engine_options(file, 3)));
    for (uint64_t i = 0; i < 12; ++i) {
      Request request = test::sampled_request({1, 2, 3}, -1, i);
      listeners[i].attach(request);
      test::require_ok(engine->submit(std::move(request)));
    }
    listeners[0].wait_for_tokens(3);
  }
  for (Listener& listener : listeners) {
    const Answer& answer = listener.wait();
    CHECK(answer.final_events == 1);
    CHECK((answer.finish == Finish::cancelled || answer.finish == Finish::length));
  }
}

TEST_CASE("submit and cancel from many threads") {
  const ModelFile file(test::tiny_model("llama"));
  const auto engine = Engine::start(test::open(engine_options(file, 4)));
  std::vector<std::thread> users;
  std::atomic<int> finished{0}, wrong{0};
  for (uint64_t user = 0; user < 4; ++user) {
    users.emplace_back([&, user] {
      test::Random random(user);
      for (int i = 0; i < 12; ++i) {
        Listener listener;
        Request request = test::sampled_request({1, TokenId(user)}, int(1 + random.below(12)), i);
        listener.attach(request);
        const Result<RequestId> id = engine->submit(std::move(request));
        if (!id.ok()) return void(++wrong);
        if (random.below(2) == 0) engine->cancel(id.value());
        engine->cancel(id.value() + 1000000);  // nobody
        const Answer& answer = listener.wait();
        wrong += answer.final_events != 1 || answer.finish == Finish::error;
        ++finished;
      }
    });
  }
  for (std::thread& user : users) user.join();
  CHECK(finished == 48);
  CHECK(wrong == 0);
}

TEST_CASE("a callback may submit the next request") {
  const ModelFile file(test::tiny_model("llama"));
  const auto engine = Engine::start(test::open(engine_options(file, 1)));
  Listener second;
  Request first = test::sampled_request({1}, 3, 1);
  std::atomic<bool> accepted{false};
  first.on_token = [&](const TokenEvent& event) {
    if (event.finish == Finish::none) return;
    Request next = test::sampled_request({1}, 2, 2);
    second.attach(next);
    accepted = engine->submit(std::move(next)).ok();
  };
  test::require_ok(engine->submit(std::move(first)));
  CHECK(second.wait().tokens.size() == 2);
  CHECK(accepted);
}

TEST_CASE("alternatives: as many as asked, the drawn token's probability among them") {
  const ModelFile file(test::tiny_model("llama"));
  const auto engine = Engine::start(test::open(engine_options(file, 1)));
  Request request = test::sampled_request({1, 5, 9}, 6, 3);
  request.sampling.temperature = 0;
  request.n_alternatives = 4;
  std::mutex mutex;
  std::condition_variable changed;
  bool finished = false;
  int n_events = 0;
  request.on_token = [&](const TokenEvent& event) {
    const std::lock_guard lock(mutex);
    ++n_events;
    REQUIRE(event.alternatives.size() == 4);
    CHECK(event.alternatives[0].token == event.token);  // at temperature 0
    CHECK(event.alternatives[0].logprob == doctest::Approx(event.logprob));
    CHECK(event.alternatives[3].logprob <= event.alternatives[0].logprob);
    finished = event.finish != Finish::none;
    changed.notify_all();
  };
  test::require_ok(engine->submit(std::move(request)));
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return finished; });
  CHECK(n_events == 6);

  Request greedy = test::sampled_request({1}, 1, 1);
  greedy.n_alternatives = 101;
  CHECK(engine->submit(std::move(greedy)).error().code == ErrorCode::bad_request);
}

TEST_CASE("control tokens have no text, unless a request wants them spelled") {
  const ModelFile file(test::tiny_model("llama"));
  const auto engine = Engine::start(test::open(engine_options(file, 1)));
  const auto answer = [&](std::vector<TokenId> spelled) {
    Request request = test::sampled_request({1, 5}, 3, 3);
    request.sampling.logit_bias = {{1, 1e6f}};  // BOS, again and again
    request.spelled = std::move(spelled);
    return test::run(*engine, std::move(request)).text;
  };
  CHECK(answer({}).empty());
  CHECK(answer({1}) == "<s><s><s>");
}

}  // namespace
}  // namespace lm
