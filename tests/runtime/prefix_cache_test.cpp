// What was computed before is not computed again, and no bit of an answer shows it.
#include <condition_variable>
#include <mutex>
#include <vector>

#include "engine/runtime/engine.h"
#include "tests/runtime/support.h"

namespace lm {
namespace {

using test::Answer;
using test::Listener;
using test::ModelFile;

constexpr const char* kArchitectures[] = {"llama", "gemma3", "qwen3moe", "gpt-oss"};

InstanceOptions options_for(const ModelFile& file, int max_seqs) {
  InstanceOptions options = test::options_for(file.path());
  options.n_ctx = 256;
  options.max_seqs = max_seqs;
  options.max_step_tokens = 48;
  return options;
}

Answer alone(const ModelFile& file, Request request) {
  return test::run(*Engine::start(test::open(options_for(file, 1))), std::move(request));
}

std::vector<TokenId> joined(std::vector<TokenId> a, const std::vector<TokenId>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

TEST_CASE("the second turn computes only its new tokens, to the same bits") {
  for (const char* architecture : kArchitectures) {
    for (const DType kv : {DType::f32, DType::f16, DType::q8_0}) {
      CAPTURE(architecture);
      const ModelFile file(test::tiny_model_for(architecture, kv));
      InstanceOptions options = options_for(file, 2);
      options.kv_dtype = kv;
      const auto engine = Engine::start(test::open(options));
      const int n_vocab = engine->instance().config().n_vocab;
      const std::vector<TokenId> first = test::random_tokens(1, 70, n_vocab);
      const Answer answer = test::run(*engine, test::sampled_request(first, 21, 5));
      CHECK(answer.timings.cached_tokens == 0);

      const std::vector<TokenId> second =
          joined(joined(first, answer.tokens), test::random_tokens(2, 9, n_vocab));
      const Answer cached = test::run(*engine, test::sampled_request(second, 20, 6));
      CHECK(cached.timings.cached_tokens == 70 + 20);  // the last token was never an input
      const Answer expected =
          test::run(*Engine::start(test::open(options)), test::sampled_request(second, 20, 6));
      CHECK(expected.timings.cached_tokens == 0);
      CHECK(cached == expected);
    }
  }
}

TEST_CASE("an edit reuses what comes before it, in the middle of a block too") {
  const ModelFile file(test::tiny_model("llama"));
  const auto engine = Engine::start(test::open(options_for(file, 2)));
  const int n_vocab = engine->instance().config().n_vocab;
  const std::vector<TokenId> original = test::random_tokens(3, 100, n_vocab);
  test::run(*engine, test::sampled_request(original, 5, 1));
  for (const size_t at : {99, 64, 50, 17, 16, 1}) {
    CAPTURE(at);
    std::vector<TokenId> edited = original;
    edited[at] = (edited[at] + 1) % n_vocab;
    const Answer answer = test::run(*engine, test::sampled_request(edited, 12, at));
    CHECK(answer.timings.cached_tokens == int(at));
    CHECK(answer == alone(file, test::sampled_request(edited, 12, at)));
  }
}

TEST_CASE("the same prompt again computes one token") {
  const ModelFile file(test::tiny_model("llama"));
  const auto engine = Engine::start(test::open(options_for(file, 1)));
  for (const size_t n : {1, 2, 15, 16, 17, 32, 33, 90}) {
    CAPTURE(n);
    const std::vector<TokenId> prompt = test::random_tokens(n, n, 200);
    const Answer once = test::run(*engine, test::sampled_request(prompt, 30, 3));
    const Answer again = test::run(*engine, test::sampled_request(prompt, 30, 3));
    CHECK(again.timings.cached_tokens == int(n) - 1);
    CHECK(again == once);
  }
}

TEST_CASE("users who come at once have a common beginning computed once") {
  for (const char* architecture : kArchitectures) {
    CAPTURE(architecture);
    const ModelFile file(test::tiny_model(architecture));
    const auto engine = Engine::start(test::open(options_for(file, 6)));
    const int n_vocab = engine->instance().config().n_vocab;
    const std::vector<TokenId> system = test::random_tokens(7, 120, n_vocab);
    std::vector<Listener> listeners(6);
    std::vector<std::vector<TokenId>> prompts;
    for (uint64_t i = 0; i < 6; ++i) {
      prompts.push_back(joined(system, test::random_tokens(100 + i, 5 + i * 9, n_vocab)));
      Request request = test::sampled_request(prompts.back(), 40, i);
      listeners[i].attach(request);
      test::require_ok(engine->submit(std::move(request)));
    }
    int cached = 0;
    for (uint64_t i = 0; i < 6; ++i) {
      const Answer& answer = listeners[i].wait();
      cached += answer.timings.cached_tokens;
      CHECK(answer == alone(file, test::sampled_request(prompts[i], 40, i)));
    }
    CHECK(cached >= 5 * 112);  // the whole blocks of it; the first user computes them
  }
}

TEST_CASE("samples share their prompt, and each is what it is alone with its seed") {
  for (const char* architecture : kArchitectures) {
    CAPTURE(architecture);
    const ModelFile file(test::tiny_model(architecture));
    const auto engine = Engine::start(test::open(options_for(file, 4)));
    const std::vector<TokenId> prompt =
        test::random_tokens(9, 90, engine->instance().config().n_vocab);
    Request request = test::sampled_request(prompt, 30, 40);
    request.n_samples = 6;  // more than run at once
    std::vector<std::vector<TokenId>> answers(6);
    std::mutex mutex;
    std::condition_variable changed;
    int finished = 0, cached = 0;
    request.on_token = [&](const TokenEvent& event) {
      const std::lock_guard lock(mutex);
      if (event.token >= 0) answers[size_t(event.sample)].push_back(event.token);
      if (event.finish == Finish::none) return;
      ++finished;
      cached += event.timings.cached_tokens;
      changed.notify_all();
    };
    test::require_ok(engine->submit(std::move(request)));
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return finished == 6; });
    CHECK(cached == 5 * 89);
    for (uint64_t i = 0; i < 6; ++i) {
      CHECK(answers[i] == alone(file, test::sampled_request(prompt, 30, 40 + i)).tokens);
    }
  }
}

TEST_CASE("memory that is needed is taken from what nobody uses") {
  const ModelFile file(test::tiny_model("llama"));
  const auto engine = Engine::start(test::open(options_for(file, 1)));  // 16 blocks
  for (uint64_t i = 0; i < 12; ++i) {
    const std::vector<TokenId> prompt = test::random_tokens(i % 5, 60 + 30 * i % 100, 200);
    const Answer answer = test::run(*engine, test::sampled_request(prompt, 40, i));
    CHECK(answer == alone(file, test::sampled_request(prompt, 40, i)));
  }
  CHECK(test::comes_to_rest(*engine));
}

}  // namespace
}  // namespace lm
