// Drafts, right and wrong ones, change no bit of an answer: with every sampler, for several
// sequences at once, when blocks run out, at the end of the context, inside stop texts.
#include "engine/runtime/speculation.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <limits>
#include <vector>

#include "tests/runtime/support.h"

namespace lm {
namespace {

using test::Answer;
using test::Listener;
using test::ModelFile;
using Tokens = std::vector<TokenId>;

// Knows the answers in advance, and spoils what it says about them.
class SpoiledOracle final : public Drafter {
 public:
  SpoiledOracle(std::vector<Tokens> texts, uint64_t spoiled_in_8, int n_vocab)
      : texts_(std::move(texts)), spoiled_in_8_(spoiled_in_8), n_vocab_(n_vocab) {}

  std::string_view name() const override { return "oracle"; }
  DraftOutlook look(uint64_t, std::span<const TokenId>) override { return {.draft_class = 0}; }
  double prior(int, int) const override { return 0.5; }
  void forget(uint64_t) override {}

  Status draft(std::span<const DraftTask> tasks) override {
    for (const DraftTask& task : tasks) {
      const Tokens& text = text_of(task.history);
      const size_t longer = random_.below(8) < spoiled_in_8_ ? random_.below(40) : 0;
      for (size_t i = 0; i < size_t(task.length) + longer; ++i) {
        const size_t at = task.history.size() + i;
        const bool spoil = random_.below(8) < spoiled_in_8_ || at >= text.size();
        task.draft->push_back(spoil ? wrong() : text[at]);
      }
    }
    return ok();
  }

 private:
  const Tokens& text_of(std::span<const TokenId> history) const {
    for (const Tokens& text : texts_) {
      const bool begins =
          text.size() >= history.size() && std::equal(history.begin(), history.end(), text.begin());
      if (begins) return text;
    }
    return texts_.front();
  }
  TokenId wrong() {
    const TokenId outside[] = {-1, n_vocab_, std::numeric_limits<TokenId>::max(),
                               std::numeric_limits<TokenId>::min()};
    const uint64_t kind = random_.below(8);
    return kind < 4 ? outside[kind] : TokenId(random_.below(uint64_t(n_vocab_)));
  }

  std::vector<Tokens> texts_;
  uint64_t spoiled_in_8_;
  int n_vocab_;
  test::Random random_{99};
};

struct EveryThird final : TokenFilter {  // allows what has the remainder of the tokens so far
  void apply(std::span<float> logits) override {
    for (size_t id = 0; id < logits.size(); ++id) {
      if (id % 3 != size_t(n_accepted % 3)) logits[id] = -INFINITY;
    }
  }
  void accept(TokenId) override { ++n_accepted; }
  std::unique_ptr<TokenFilter> clone() const override {
    return std::make_unique<EveryThird>(*this);
  }
  int n_accepted = 0;
};

constexpr uint64_t kRequests = 16;

// Every sampler and every way to end.
Request request_of(uint64_t i, int n_vocab) {
  Request request = test::sampled_request(
      test::random_tokens(i + 300, 1 + size_t(i * 7 % 30), n_vocab), int(20 + i * 13 % 50), i);
  SamplingParams& sampling = request.sampling;
  switch (i % 8) {
    case 0:
      sampling.temperature = 0;
      break;
    case 1:
      sampling = SamplingParams();
      sampling.seed = i;
      request.ignore_end = false;
      request.n_alternatives = 3;
      break;
    case 2:
      sampling.mirostat = 2;
      break;
    case 3:  // in a text that repeats itself, with several tokens above the threshold
      request.prompt.resize(12, 5);
      for (size_t j = 0; j < 12; ++j) request.prompt.push_back(request.prompt[j]);
      sampling.repeat_penalty = 1.3f;
      sampling.dry_multiplier = 0.8f;
      sampling.xtc_probability = 0.5f;
      sampling.xtc_threshold = 0.01f;
      request.stop = {"th"};
      break;
    case 4:
      request.filter = std::make_unique<EveryThird>();
      break;
    case 5:
      sampling.typical_p = 0.7f;
      sampling.presence_penalty = 0.5f;
      sampling.frequency_penalty = 0.2f;
      sampling.temperature = 0.3f;
      break;
    case 6:
      request.filter = std::make_unique<EveryThird>();
      sampling.mirostat = 2;
      sampling.logit_bias = {{5, 4.0f}, {7, -INFINITY}};
      break;
    default:
      request.max_tokens = -1;  // to the end of the context
  }
  return request;
}

InstanceOptions draft_options(const std::filesystem::path& path, int max_seqs, int n_ctx) {
  InstanceOptions options = test::options_for(path);
  options.n_ctx = n_ctx;
  options.max_seqs = max_seqs;
  options.max_step_tokens = 32;
  options.draft_rows = 40;
  return options;
}

struct Expected {
  std::vector<Answer> answers;
  std::vector<Tokens> texts;  // prompt and answer
  int n_vocab = 0;
};

Expected plain_answers(const ModelFile& file, int n_ctx) {
  const auto engine = Engine::start(test::open(draft_options(file.path(), 1, n_ctx)));
  Expected expected;
  expected.n_vocab = engine->instance().config().n_vocab;
  for (uint64_t i = 0; i < kRequests; ++i) {
    Tokens text = request_of(i, expected.n_vocab).prompt;
    expected.answers.push_back(test::run(*engine, request_of(i, expected.n_vocab)));
    const Tokens& answer = expected.answers.back().tokens;
    text.insert(text.end(), answer.begin(), answer.end());
    expected.texts.push_back(text);
  }
  return expected;
}

// All at once; the pool is whole again afterwards.
void check_answers(const Expected& expected, std::unique_ptr<Instance> instance,
                   SpeculationOptions speculation) {
  const auto engine = Engine::start(std::move(instance), {.speculation = std::move(speculation)});
  std::vector<Listener> listeners(kRequests);
  for (uint64_t i = 0; i < kRequests; ++i) {
    Request request = request_of(i, expected.n_vocab);
    listeners[i].attach(request);
    test::require_ok(engine->submit(std::move(request)));
  }
  for (size_t i = 0; i < kRequests; ++i) {
    CAPTURE(i);
    const Answer& answer = listeners[i].wait();
    CHECK(answer == expected.answers[i]);
    CHECK(answer.n_drafted == answer.timings.accepted_tokens);
    CHECK(answer.timings.accepted_tokens <= answer.timings.drafted_tokens);
  }
  CHECK(test::comes_to_rest(*engine));
}

TEST_CASE("right, wrong and impossible drafts: sixteen at once, whatever is preempted") {
  for (const char* architecture : {"llama", "gemma3"}) {
    const ModelFile file(test::tiny_model(architecture));
    const Expected expected = plain_answers(file, 128);
    for (const int n_blocks : {8, 13, 128}) {  // of 16 tokens; one request alone may need 8
      for (const uint64_t spoiled : {0, 1, 8}) {
        CAPTURE(n_blocks);
        CAPTURE(spoiled);
        InstanceOptions options = draft_options(file.path(), 16, 128);
        const auto unbounded = test::open(options);
        const uint64_t block_bytes = unbounded->kv_bytes() / uint64_t(unbounded->pool().n_blocks());
        options.kv_budget = block_bytes * uint64_t(n_blocks);
        options.backend.n_threads = n_blocks == 13 ? 3 : 1;
        const int length = spoiled == 0 ? 32 : 5;
        check_answers(
            expected, test::open(options),
            {std::make_unique<SpoiledOracle>(expected.texts, spoiled, expected.n_vocab), length});
      }
    }
  }
}

TEST_CASE("drafts from the text, and lengths as the clock will have them") {
  for (const char* architecture : {"llama", "gemma3"}) {
    const ModelFile file(test::tiny_model(architecture));
    const Expected expected = plain_answers(file, 128);
    for (const int length : {0, 1, 7}) {
      check_answers(expected, test::open(draft_options(file.path(), 5, 128)),
                    {make_ngram_drafter(), length});
    }
    check_answers(expected, test::open(draft_options(file.path(), 3, 128)),
                  {std::make_unique<SpoiledOracle>(expected.texts, 1, expected.n_vocab), 0});
  }
}

TEST_CASE("at the end of a short context") {
  const ModelFile file(test::tiny_model("llama"));
  for (const int n_ctx : {31, 32, 33}) {
    const Expected expected = plain_answers(file, n_ctx);
    for (const int length : {1, 2, 32}) {
      check_answers(expected, test::open(draft_options(file.path(), 2, n_ctx)),
                    {std::make_unique<SpoiledOracle>(expected.texts, 0, expected.n_vocab), length});
    }
  }
}

TEST_CASE("right drafts save forward passes") {
  const ModelFile file(test::tiny_model("llama"));
  const Expected expected = plain_answers(file, 128);
  const auto engine = Engine::start(
      test::open(draft_options(file.path(), 1, 128)),
      {.speculation = {std::make_unique<SpoiledOracle>(expected.texts, 0, expected.n_vocab), 4}});
  const Answer answer = test::run(*engine, request_of(0, expected.n_vocab));  // 20 tokens
  CHECK(answer.timings.steps == 4);                                           // of 5 tokens each
  CHECK(answer.timings.drafted_tokens == 16);
  CHECK(answer.timings.accepted_tokens == 16);
  CHECK(answer.n_drafted == 16);
}

TEST_CASE("stop texts and end tokens inside a draft that comes true") {
  LM_FIXTURE(model, "models/stories260K/stories260K.gguf");
  const auto greedy = [](std::vector<std::string> stop) {
    Request request;
    request.prompt = {1};
    request.sampling.temperature = 0;
    request.max_tokens = 60;
    request.stop = std::move(stop);
    return request;
  };
  const auto plain = Engine::start(test::open(draft_options(model, 1, 256)));
  const Answer whole = test::run(*plain, greedy({}));
  Tokens text = {1};
  text.insert(text.end(), whole.tokens.begin(), whole.tokens.end());
  const int n_vocab = plain->instance().config().n_vocab;
  const auto drafting = Engine::start(
      test::open(draft_options(model, 1, 256)),
      {.speculation = {std::make_unique<SpoiledOracle>(std::vector<Tokens>{text}, 0, n_vocab),
                       16}});
  for (const std::string stop : {"little girl", "Lily", ". She", "park. One"}) {
    CAPTURE(stop);
    CHECK(test::run(*drafting, greedy({stop})) == test::run(*plain, greedy({stop})));
  }
  // An end token that comes true is not part of the answer.
  const TokenId eos = plain->instance().tokenizer()->eos();
  text.insert(text.begin() + 20, eos);
  const auto ending = Engine::start(
      test::open(draft_options(model, 1, 256)),
      {.speculation = {std::make_unique<SpoiledOracle>(std::vector<Tokens>{text}, 0, n_vocab),
                       16}});
  struct EndAfter19 final : TokenFilter {
    explicit EndAfter19(TokenId end) : eos(end) {}
    void apply(std::span<float> logits) override {
      if (n_accepted == 19) logits[size_t(eos)] = 1000;
    }
    void accept(TokenId) override { ++n_accepted; }
    std::unique_ptr<TokenFilter> clone() const override {
      return std::make_unique<EndAfter19>(*this);
    }
    TokenId eos;
    int n_accepted = 0;
  };
  Request ends = greedy({});
  ends.filter = std::make_unique<EndAfter19>(eos);
  const Answer ended = test::run(*ending, std::move(ends));
  CHECK(ended.finish == Finish::stop);
  CHECK(ended.tokens == Tokens(whole.tokens.begin(), whole.tokens.begin() + 19));
}

TEST_CASE("stories260K, greedy from BOS: the reference text, with drafts from the text") {
  LM_FIXTURE(model, "models/stories260K/stories260K.gguf");
  LM_FIXTURE(expected_path, "models/stories260K/greedy_200.txt");
  std::ifstream in(expected_path);
  std::string expected(std::istreambuf_iterator<char>(in), {});
  while (!expected.empty() && expected.back() == '\n') expected.pop_back();
  const auto engine = Engine::start(test::open(draft_options(model, 1, 256)),
                                    {.speculation = {make_ngram_drafter(), 6}});
  Request request;
  request.prompt = {1};
  request.sampling.temperature = 0;
  request.max_tokens = 200;
  request.ignore_end = true;
  const Answer answer = test::run(*engine, std::move(request));
  CHECK(answer.text.substr(0, expected.size()) == expected);
  CHECK(answer.timings.accepted_tokens > 20);
}

// Fails in one way or the other after some drafts.
class FailingDrafter final : public Drafter {
 public:
  explicit FailingDrafter(bool throws) : throws_(throws) {}
  std::string_view name() const override { return "failing"; }
  DraftOutlook look(uint64_t, std::span<const TokenId>) override { return {.draft_class = 0}; }
  double prior(int, int) const override { return 1; }
  void forget(uint64_t) override {}
  Status draft(std::span<const DraftTask> tasks) override {
    for (const DraftTask& task : tasks) task.draft->assign(size_t(task.length), 3);
    if (++n_drafts_ < 5) return ok();
    if (throws_) throw std::bad_alloc();
    return Error{ErrorCode::device, "the drafts' device is gone"};
  }

 private:
  bool throws_;
  int n_drafts_ = 0;
};

TEST_CASE("a drafter that fails is done without") {
  const ModelFile file(test::tiny_model("llama"));
  const Expected expected = plain_answers(file, 128);
  for (const bool throws : {false, true}) {
    check_answers(expected, test::open(draft_options(file.path(), 4, 128)),
                  {std::make_unique<FailingDrafter>(throws), 3});
  }
}

TEST_CASE("an instance without rows for drafts decodes plainly") {
  const ModelFile file(test::tiny_model("llama"));
  const Expected expected = plain_answers(file, 128);
  InstanceOptions options = draft_options(file.path(), 4, 128);
  options.draft_rows = 0;
  for (const int length : {0, 4}) {
    check_answers(expected, test::open(options), {make_ngram_drafter(), length});
  }
}

}  // namespace
}  // namespace lm
