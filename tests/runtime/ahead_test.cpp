// Steps that are launched before the tokens in front of them are known change no answer, however
// wrong the guesses are, and nobody waits for them.
#include <algorithm>
#include <atomic>
#include <deque>
#include <utility>
#include <vector>

#include "tests/runtime/late_instance.h"

namespace lm {
namespace {

using test::Answer;
using test::Listener;
using test::ModelFile;

test::Lateness lateness;  // for BackendEntry::open, a plain function

InstanceOptions late_options(const std::filesystem::path& path, int max_seqs) {
  InstanceOptions options = test::options_for(path);
  options.n_ctx = 96;
  options.max_seqs = max_seqs;
  options.max_step_tokens = 32;
  return options;
}

constexpr uint64_t kRequests = 14;

// Most of them can be guessed; they come and go at different times, and end in every way.
Request request_of(uint64_t i, int n_vocab) {
  Request request;
  request.prompt = test::random_tokens(i, 1 + 5 * i % 23, n_vocab);
  request.max_tokens = int(1 + 7 * i % 40);
  request.ignore_end = i % 3 != 0;
  request.n_alternatives = i % 4 == 0 ? 3 : 0;
  SamplingParams& sampling = request.sampling;  // others are the defaults
  sampling.seed = i;
  switch (i % 7) {
    case 0:
      sampling.temperature = 0;
      break;
    case 1:
      request.max_tokens = -1;  // to the end of the context
      break;
    case 2:
      request.overflow = Overflow::shift;
      request.max_tokens = 130;
      sampling.top_k = 100;
      sampling.temperature = 2;
      break;
    case 3:
      sampling.top_p = 0.3f;
      sampling.min_p = 0;
      break;
    case 4:
      sampling.top_p = 1;
      request.stop = {"e", "1"};
      break;
    case 5:  // none that can be guessed
      if (i > 7) sampling.repeat_penalty = 1.3f;
      break;
    default:
      break;
  }
  return request;
}

std::vector<Answer> answers_alone(const ModelFile& file) {
  InstanceOptions options = late_options(file.path(), 1);
  options.backend.run_ahead = false;
  const auto engine = Engine::start(test::open_late<lateness>(options));
  std::vector<Answer> answers;
  for (uint64_t i = 0; i < kRequests; ++i) {
    answers.push_back(test::run(*engine, request_of(i, engine->instance().config().n_vocab)));
  }
  CHECK(engine->totals().steps_ahead == 0);
  return answers;
}

// All of them at once; how many steps ran ahead.
uint64_t check_answers(const std::vector<Answer>& expected, std::unique_ptr<Instance> instance,
                       SpeculationOptions speculation = {}) {
  const auto engine = Engine::start(std::move(instance), {.speculation = std::move(speculation)});
  std::vector<Listener> listeners(kRequests);
  for (uint64_t i = 0; i < kRequests; ++i) {
    Request request = request_of(i, engine->instance().config().n_vocab);
    listeners[i].attach(request);
    test::require_ok(engine->submit(std::move(request)));
  }
  for (size_t i = 0; i < kRequests; ++i) {
    CAPTURE(i);
    const Answer& answer = listeners[i].wait();
    CHECK(answer == expected[i]);
    CHECK(answer.final_events == 1);
  }
  CHECK(test::comes_to_rest(*engine));
  return engine->totals().steps_ahead;
}

TEST_CASE("ahead: right and wrong guesses, in a crowd that comes and goes") {
  for (const char* architecture : {"llama", "gemma3"}) {
    const ModelFile file(test::tiny_model(architecture));
    lateness = {};
    const std::vector<Answer> expected = answers_alone(file);
    for (const int lie_in : {0, 1, 2, 7}) {
      for (const int max_seqs : {1, 3, 14}) {
        CAPTURE(architecture);
        CAPTURE(lie_in);
        CAPTURE(max_seqs);
        lateness = {.lie_in = lie_in};
        CHECK((check_answers(expected, test::open_late<lateness>(late_options(
                                           file.path(), max_seqs))) > 0) == (lie_in != 1));
        CHECK((lateness.n_lies > 0) == (lie_in > 0));
      }
    }
  }
}

TEST_CASE("ahead: sequences that lose their blocks") {
  for (const char* architecture : {"llama", "gemma3"}) {
    const ModelFile file(test::tiny_model(architecture));
    lateness = {};
    const std::vector<Answer> expected = answers_alone(file);
    InstanceOptions options = late_options(file.path(), 6);
    const auto unbounded = test::open_late<lateness>(options);
    const uint64_t block_bytes = unbounded->kv_bytes() / uint64_t(unbounded->pool().n_blocks());
    for (const int n_blocks : {6, 8, 13}) {  // of 16 tokens; one request alone may need 6
      options.kv_budget = block_bytes * uint64_t(n_blocks);
      for (const int lie_in : {0, 3}) {
        CAPTURE(architecture);
        CAPTURE(n_blocks);
        lateness = {.lie_in = lie_in};
        check_answers(expected, test::open_late<lateness>(options));
      }
    }
  }
}

TEST_CASE("ahead: beside drafts") {
  const ModelFile file(test::tiny_model("llama"));
  lateness = {};
  const std::vector<Answer> expected = answers_alone(file);
  InstanceOptions options = late_options(file.path(), 4);
  options.draft_rows = 12;
  for (const int length : {0, 1, 5}) {
    for (const int lie_in : {0, 5}) {
      CAPTURE(length);
      lateness = {.lie_in = lie_in};
      check_answers(expected, test::open_late<lateness>(options), {make_ngram_drafter(), length});
    }
  }
}

TEST_CASE("ahead: logits that candidates don't decide are computed again and read as a whole") {
  const ModelFile file(test::tiny_model("llama"));
  lateness = {.grid = 1};
  const std::vector<Answer> expected = answers_alone(file);
  lateness = {.grid = 1};
  CHECK(check_answers(expected, test::open_late<lateness>(late_options(file.path(), 3))) > 0);
  CHECK(lateness.n_downloads > 0);
}

// Greedy, from a prompt of several tokens.
Request plain_request(int max_tokens) {
  Request request;
  request.prompt = {5, 6, 7};
  request.max_tokens = max_tokens;
  request.ignore_end = true;
  return request;
}

TEST_CASE("ahead: every step that could, and none is waited for before its turn") {
  const ModelFile file(test::tiny_model("llama"));
  lateness = {};
  const auto engine = Engine::start(test::open_late<lateness>(late_options(file.path(), 1)));
  std::vector<int> steps_done;
  Request request = plain_request(40);
  Listener listener;
  listener.attach(request);
  request.on_token = [&, tell = std::move(request.on_token)](const TokenEvent& event) {
    steps_done.push_back(lateness.n_steps);
    tell(event);
  };
  test::require_ok(engine->submit(std::move(request)));
  const Answer& answer = listener.wait();
  REQUIRE(steps_done.size() == 40);
  for (size_t i = 0; i < steps_done.size(); ++i) CHECK(steps_done[i] == int(i) + 1);
  CHECK(answer.timings.steps == 40);
  const EngineTotals totals = engine->totals();
  CHECK(totals.steps == 40);
  CHECK(totals.steps_ahead == 38);  // but the prompt's, and the one that followed it
  CHECK(lateness.n_guesses == 38);  // nothing is launched behind the last token
}

TEST_CASE("ahead: wrong guesses end, and count in no number of steps") {
  const ModelFile file(test::tiny_model("llama"));
  InstanceOptions options = late_options(file.path(), 1);
  options.n_ctx = 200;
  struct Case {
    int lie_in, n_guesses, steps_ahead;
  };
  // Of 150 tokens: two guesses for each try, behind tokens 1, 17 and 81; all 148; or tokens 61 and
  // 136 are guessed wrongly, and 62 to 78 and 137 to 150 follow without a guess.
  for (const Case& c : {Case{1, 6, 0}, Case{0, 148, 148}, Case{60, 121, 117}}) {
    CAPTURE(c.lie_in);
    lateness = {.lie_in = c.lie_in};
    const auto engine = Engine::start(test::open_late<lateness>(options));
    const Answer answer = test::run(*engine, plain_request(150));
    CHECK(answer.tokens.size() == 150);
    CHECK(answer.timings.steps == 150);
    CHECK(answer.timings.generate_steps == 149);
    const EngineTotals totals = engine->totals();
    CHECK(totals.steps == 150);
    CHECK(totals.steps_ahead == uint64_t(c.steps_ahead));
    CHECK(lateness.n_guesses == c.n_guesses);
    CHECK(lateness.n_steps - 150 <= 2 * lateness.n_lies);  // in vain
  }
}

TEST_CASE("ahead: a wrong guess now and then holds a crowd up for few steps") {
  const ModelFile file(test::tiny_model("llama"));
  InstanceOptions options = late_options(file.path(), 8);
  options.n_ctx = 200;
  lateness = {.lie_in = 201};  // another one's each time, in 25 steps
  const auto engine = Engine::start(test::open_late<lateness>(options));
  std::vector<Listener> listeners(8);
  std::atomic<bool> all_are_here{false};
  for (Listener& listener : listeners) {
    Request request = plain_request(150);
    listener.attach(request);
    request.on_token = [&, tell = std::move(request.on_token)](const TokenEvent& event) {
      all_are_here.wait(false);
      tell(event);
    };
    test::require_ok(engine->submit(std::move(request)));
  }
  all_are_here = true;
  all_are_here.notify_all();
  for (Listener& listener : listeners) CHECK(listener.wait().tokens.size() == 150);
  CHECK(lateness.n_lies >= 4);
  const EngineTotals totals = engine->totals();
  // Three or four for each, some at the beginning, and one behind each last token.
  CHECK(totals.steps - totals.steps_ahead <= 16 + 4 * uint64_t(lateness.n_lies));
}

TEST_CASE("ahead: who leaves spoils nobody's guess") {
  const ModelFile file(test::tiny_model("llama"));
  lateness = {};
  const auto engine = Engine::start(test::open_late<lateness>(late_options(file.path(), 6)));
  // All but the last leave, one after the other, in front of those that stay.
  std::vector<Listener> listeners(6);
  std::vector<std::atomic<RequestId>> ids(listeners.size());
  std::atomic<bool> all_are_here{false};
  for (size_t i = 0; i < listeners.size(); ++i) {
    Request request = plain_request(60);
    request.prompt = test::random_tokens(i, 9, engine->instance().config().n_vocab);
    request.sampling.temperature = 0;  // noise would be the same with another's logits
    listeners[i].attach(request);
    request.on_token = [&, i, tell = std::move(request.on_token),
                        n = size_t{0}](const TokenEvent& event) mutable {
      all_are_here.wait(false);
      if (++n == 8 + 4 * i && i + 1 < listeners.size()) engine->cancel(ids[i]);
      tell(event);
    };
    ids[i] = test::require_ok(engine->submit(std::move(request)));
  }
  all_are_here = true;
  all_are_here.notify_all();
  for (Listener& listener : listeners) CHECK(listener.wait().final_events == 1);
  CHECK(engine->totals().steps_ahead > 20);
  CHECK(lateness.n_steps == int(engine->totals().steps));  // none was in vain
}

TEST_CASE("ahead: not without being allowed to, nor where the sampler looks at more") {
  const ModelFile file(test::tiny_model("llama"));
  lateness = {};
  InstanceOptions options = late_options(file.path(), 1);
  const auto steps_ahead = [&](const Request& request) {
    const auto engine = Engine::start(test::open_late<lateness>(options));
    test::run(*engine, request);
    return engine->totals().steps_ahead;
  };
  Request request = plain_request(10);
  CHECK(steps_ahead(request) == 8);
  request.sampling.presence_penalty = 0.5f;
  CHECK(steps_ahead(request) == 0);
  request.sampling = SamplingParams();
  request.sampling.top_k = 0;
  CHECK(steps_ahead(request) == 0);
  request.sampling.temperature = 0;
  CHECK(steps_ahead(request) == 8);
  request.sampling = SamplingParams();
  request.sampling.top_k = kMostCandidates;  // others may be as large as the last of them
  lateness = {};
  CHECK(steps_ahead(request) == 0);
  CHECK(lateness.n_guesses == 0);
  options.backend.run_ahead = false;
  CHECK(steps_ahead(plain_request(10)) == 0);
}

// A request of several samples, whose client may leave in the middle of the first.
class Visitor {
 public:
  Visitor(test::Random& random, int n_vocab) {
    request_.prompt = test::random_tokens(random.below(3), 1 + random.below(50), n_vocab);
    request_.max_tokens = int(1 + random.below(40));
    request_.ignore_end = random.below(3) != 0;
    request_.sampling.seed = random.next();
    request_.sampling.temperature = random.below(3) == 0 ? 0.f : 1.f;
    request_.n_samples = int(1 + random.below(3));
    if (random.below(3) == 0) leaves_after_ = int(random.below(20));
    samples_.resize(size_t(request_.n_samples));
  }

  void learn_answers(Engine& engine) {
    for (int i = 0; i < request_.n_samples; ++i) {
      Request one = request_;
      one.n_samples = 1;
      one.sampling.seed += uint64_t(i);
      expected_.push_back(test::run(engine, std::move(one)));
    }
  }

  void come(Engine& engine) {
    id_ = 0;
    samples_.assign(expected_.size(), {});
    n_unfinished_ = request_.n_samples;
    Request request = request_;
    request.on_token = [this, &engine](const TokenEvent& event) { hear(engine, event); };
    id_ = test::require_ok(engine.submit(std::move(request)));
  }

  void check_answers() {
    for (int left = n_unfinished_; left > 0; left = n_unfinished_) n_unfinished_.wait(left);
    for (size_t i = 0; i < samples_.size(); ++i) {
      const std::vector<std::pair<TokenId, float>>& came = samples_[i];
      const Answer& whole = expected_[i];
      REQUIRE(came.size() <= whole.tokens.size());
      if (leaves_after_ < 0) CHECK(came.size() == whole.tokens.size());
      for (size_t j = 0; j < came.size(); ++j) {
        REQUIRE(came[j] == std::pair(whole.tokens[j], whole.logprobs[j]));
      }
    }
  }

 private:
  void hear(Engine& engine, const TokenEvent& event) {
    std::vector<std::pair<TokenId, float>>& came = samples_[size_t(event.sample)];
    if (event.token >= 0) came.emplace_back(event.token, event.logprob);
    if (event.sample == 0 && leaves_after_ >= 0 && int(came.size()) >= leaves_after_) {
      engine.cancel(id_);
    }
    if (event.finish == Finish::none) return;
    --n_unfinished_;
    n_unfinished_.notify_all();
  }

  Request request_;
  int leaves_after_ = -1;  // tokens; -1: it stays
  std::atomic<RequestId> id_{0};
  std::vector<Answer> expected_;
  std::vector<std::vector<std::pair<TokenId, float>>> samples_;  // the engine thread's
  std::atomic<int> n_unfinished_{0};
};

TEST_CASE("ahead: samples with one beginning, who leave, are saved and come back") {
  test::Random random(31);
  for (const char* architecture : {"llama", "gemma3"}) {
    const ModelFile file(test::tiny_model(architecture));
    InstanceOptions options = late_options(file.path(), 5);
    options.block_size = 8;
    std::deque<Visitor> visitors;
    {
      lateness = {};
      InstanceOptions plain = options;
      plain.backend.run_ahead = false;
      const auto engine = Engine::start(test::open_late<lateness>(plain));
      for (int i = 0; i < 24; ++i) {
        visitors.emplace_back(random, engine->instance().config().n_vocab);
        visitors.back().learn_answers(*engine);
      }
    }
    const auto unbounded = test::open_late<lateness>(options);
    const uint64_t block_bytes = unbounded->kv_bytes() / uint64_t(unbounded->pool().n_blocks());
    options.kv_budget = block_bytes * 26;  // of 8 tokens: for two contexts
    for (const int lie_in : {0, 3}) {
      const test::TempDir folder;
      for (int visit = 0; visit < 2; ++visit) {  // the second finds what the first one saved
        CAPTURE(architecture);
        CAPTURE(lie_in);
        CAPTURE(visit);
        lateness = {.lie_in = lie_in};
        EngineOptions engine_options;
        engine_options.disk = test::require_ok(DiskCache::open({.folder = folder.path()}));
        const auto engine =
            Engine::start(test::open_late<lateness>(options), std::move(engine_options));
        for (Visitor& visitor : visitors) visitor.come(*engine);
        for (Visitor& visitor : visitors) visitor.check_answers();
        CHECK(test::comes_to_rest(*engine));
        CHECK(engine->totals().steps_ahead > 0);
      }
    }
  }
}

TEST_CASE("ahead: blocks are saved without a device that waits") {
  const ModelFile file(test::tiny_model("llama"));
  const test::TempDir folder;
  InstanceOptions options = late_options(file.path(), 1);
  options.block_size = 8;
  Answer answer;
  // How often nothing is left to do before the last token but one.
  const auto n_idle = [&](bool saves, TokenId first) {
    EngineOptions engine_options;
    if (saves) engine_options.disk = test::require_ok(DiskCache::open({.folder = folder.path()}));
    lateness = {};
    const auto engine =
        Engine::start(test::open_late<lateness>(options), std::move(engine_options));
    Request request = plain_request(70);
    request.prompt[0] = first;
    Listener listener;
    listener.attach(request);
    int last = 0;
    request.on_token = [&, tell = std::move(request.on_token)](const TokenEvent& event) {
      if (event.finish == Finish::none) last = lateness.n_idle;
      tell(event);
    };
    test::require_ok(engine->submit(std::move(request)));
    answer = listener.wait();
    CHECK(lateness.n_downloads == 0);
    return last;
  };
  n_idle(true, 4);  // finds out which model it is
  const int alone = n_idle(false, 5);
  const Answer expected = answer;
  CHECK(n_idle(true, 5) == alone);
  CHECK(answer == expected);
  // What was saved is the same.
  const auto engine =
      Engine::start(test::open_late<lateness>(options),
                    {.disk = test::require_ok(DiskCache::open({.folder = folder.path()}))});
  Request again = plain_request(20);
  again.prompt.insert(again.prompt.end(), expected.tokens.begin(), expected.tokens.begin() + 50);
  const Answer rest = test::run(*engine, again);
  CHECK(rest.timings.loaded_tokens == 48);
  CHECK(std::equal(rest.tokens.begin(), rest.tokens.end(), expected.tokens.begin() + 50));
  CHECK(std::equal(rest.logprobs.begin(), rest.logprobs.end(), expected.logprobs.begin() + 50));
}

TEST_CASE("ahead: who is cancelled or fails takes nobody along") {
  const ModelFile file(test::tiny_model("llama"));
  lateness = {};
  const auto engine = Engine::start(test::open_late<lateness>(late_options(file.path(), 2)));
  const Answer alone = test::run(*engine, plain_request(60));
  Request stays = plain_request(60), goes = plain_request(-1);
  goes.sampling.seed = 9;
  Listener staying, going;
  staying.attach(stays);
  going.attach(goes);
  const RequestId id = test::require_ok(engine->submit(std::move(goes)));
  test::require_ok(engine->submit(std::move(stays)));
  going.wait_for_tokens(7);
  engine->cancel(id);
  CHECK(going.wait().final_events == 1);
  CHECK(staying.wait() == alone);
  CHECK(test::comes_to_rest(*engine));

  lateness.fails_after = 5;
  const Answer broken = test::run(*engine, plain_request(60));
  CHECK(broken.finish == Finish::error);
  CHECK(broken.error == "the device is gone");
  CHECK(broken.final_events == 1);
  CHECK(broken.tokens.size() == 5);
  lateness.fails_after = -1;
  CHECK(test::run(*engine, plain_request(60)) == alone);
}

}  // namespace
}  // namespace lm
