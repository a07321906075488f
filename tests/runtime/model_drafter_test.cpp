// Drafts by a second model: the same answers bit for bit, the same draws where the models agree,
// and a clear word where the vocabularies differ.
#include "engine/runtime/model_drafter.h"

#include <vector>

#include "engine/core/text.h"
#include "engine/runtime/grammar_request.h"
#include "tests/runtime/support.h"

namespace lm {
namespace {

using test::Answer;
using test::Listener;
using test::ModelFile;
using Tokens = std::vector<TokenId>;

InstanceOptions target_options(const std::filesystem::path& path, int max_seqs) {
  InstanceOptions options = test::options_for(path);
  options.n_ctx = 128;
  options.max_seqs = max_seqs;
  options.max_step_tokens = 32;
  options.draft_rows = 32;
  return options;
}

std::unique_ptr<Drafter> drafter_for(const Instance& target, const InstanceOptions& options) {
  InstanceOptions draft = options;
  draft.draft_rows = 0;
  return test::require_ok(make_model_drafter(test::open(draft), target));
}

struct NotTwice final : TokenFilter {  // forbids the last token
  void apply(std::span<float> logits) override {
    if (last >= 0) logits[size_t(last)] = -1e30f;
  }
  void accept(TokenId token) override { last = token; }
  std::unique_ptr<TokenFilter> clone() const override { return std::make_unique<NotTwice>(*this); }
  TokenId last = -1;
};

Request request_of(uint64_t i, int n_vocab) {
  Request request = test::sampled_request(
      test::random_tokens(i + 700, 1 + size_t(i * 17 % 70), n_vocab), int(20 + i * 5 % 30), i);
  if (i % 5 == 1) request.sampling = SamplingParams();
  if (i % 5 == 2) request.sampling.mirostat = 2;
  if (i % 5 == 3) request.filter = std::make_unique<NotTwice>();
  if (i % 5 == 4) {
    request.sampling.repeat_penalty = 1.2f;
    request.sampling.dry_multiplier = 0.8f;
    request.sampling.xtc_probability = 0.5f;
  }
  request.sampling.seed = i;
  return request;
}

constexpr uint64_t kRequests = 10;

std::vector<Answer> run_all(Engine& engine) {
  std::vector<Listener> listeners(kRequests);
  for (uint64_t i = 0; i < kRequests; ++i) {
    Request request = request_of(i, engine.instance().config().n_vocab);
    listeners[i].attach(request);
    test::require_ok(engine.submit(std::move(request)));
  }
  std::vector<Answer> answers;
  for (Listener& listener : listeners) answers.push_back(listener.wait());
  return answers;
}

TEST_CASE("the model itself as draft model: every draft comes true") {
  const ModelFile file(test::tiny_model("llama"));
  const std::vector<Answer> expected =
      run_all(*Engine::start(test::open(target_options(file.path(), 3))));
  for (const int n_seqs : {1, 4}) {
    const InstanceOptions options = target_options(file.path(), n_seqs);
    auto target = test::open(options);
    auto drafter = drafter_for(*target, options);
    const auto engine = Engine::start(std::move(target), {.speculation = {std::move(drafter), 5}});
    const std::vector<Answer> answers = run_all(*engine);
    CHECK(answers == expected);
    for (const Answer& answer : answers) {
      CHECK(answer.timings.drafted_tokens > 0);
      CHECK(answer.timings.accepted_tokens == answer.timings.drafted_tokens);
    }
  }
}

TEST_CASE("another model, another precision, another cache: the same answers") {
  const ModelFile file(test::tiny_model("llama"));
  test::TinyModel other = test::tiny_model("llama");
  other.seed = 77;
  other.n_layers = 1;
  const ModelFile bad(other);
  const std::vector<Answer> expected =
      run_all(*Engine::start(test::open(target_options(file.path(), 3))));
  for (const bool good : {true, false}) {
    for (const int length : {0, 1, 4, 31}) {
      const InstanceOptions options = target_options(file.path(), 4);
      auto target = test::open(options);
      InstanceOptions draft = target_options(good ? file.path() : bad.path(), 4);
      draft.kv_dtype = DType::f16;
      draft.n_ctx = good ? 60 : 128;  // shorter than the target's
      draft.max_step_tokens = 16;
      auto drafter = drafter_for(*target, draft);
      const auto engine =
          Engine::start(std::move(target), {.speculation = {std::move(drafter), length}});
      CHECK(run_all(*engine) == expected);
    }
  }
}

TEST_CASE("answers held to a JSON schema: the same with drafts of either kind") {
  const ModelFile file(test::tiny_model("llama"));
  const InstanceOptions options = target_options(file.path(), 4);
  const auto plain = Engine::start(test::open(options));
  const Tokenizer& tokenizer = *plain->instance().tokenizer();
  const auto schema = test::require_ok(AnswerGrammar::from_json_schema(
      R"({"type": "array", "items": {"type": "object", "additionalProperties": false,
          "properties": {"color": {"enum": ["red", "green"]}, "n": {"type": "integer"}},
          "required": ["color", "n"]}})"));
  const auto grammar = test::require_ok(schema.bind(grammar_vocabulary(tokenizer)));
  const auto request = [&](uint64_t seed) {
    Request asked = test::sampled_request({1, 5}, 100, seed);
    asked.ignore_end = false;
    asked.filter = make_grammar_filter(grammar, tokenizer, asked.prompt);
    return asked;
  };
  auto target = test::open(options);
  auto drafter = drafter_for(*target, options);
  const auto by_model = Engine::start(std::move(target), {.speculation = {std::move(drafter), 4}});
  const auto by_text =
      Engine::start(test::open(options), {.speculation = {make_ngram_drafter(), 6}});
  for (uint64_t seed = 0; seed < 8; ++seed) {
    const Answer expected = test::run(*plain, request(seed));
    CHECK(expected.finish != Finish::error);
    CHECK(test::run(*by_text, request(seed)) == expected);
    const Answer drafted = test::run(*by_model, request(seed));
    CHECK(drafted == expected);
    // In vain was only what lay at and beyond the end.
    CHECK(drafted.timings.drafted_tokens - drafted.timings.accepted_tokens <= 4);
  }
}

TEST_CASE("too few blocks for all drafts, too few for the sequences themselves") {
  const ModelFile file(test::tiny_model("llama"));
  InstanceOptions options = target_options(file.path(), 6);
  const auto unbounded = test::open(options);
  const uint64_t block_bytes = unbounded->kv_bytes() / uint64_t(unbounded->pool().n_blocks());
  const std::vector<Answer> expected = run_all(*Engine::start(test::open(options)));
  for (const uint64_t n_target : {8, 48}) {
    for (const uint64_t n_draft : {8, 11}) {
      options.kv_budget = n_target * block_bytes;
      auto target = test::open(options);
      options.kv_budget = n_draft * block_bytes;
      auto drafter = drafter_for(*target, options);
      const auto engine =
          Engine::start(std::move(target), {.speculation = {std::move(drafter), 3}});
      const std::vector<Answer> answers = run_all(*engine);
      CHECK(answers == expected);
      int accepted = 0;
      for (const Answer& answer : answers) accepted += answer.timings.accepted_tokens;
      CHECK(accepted > 0);
    }
  }
}

TEST_CASE("a second turn goes on with what the draft model has read") {
  const ModelFile file(test::tiny_model("llama"));
  const InstanceOptions options = target_options(file.path(), 1);
  auto target = test::open(options);
  const int n_vocab = target->config().n_vocab;
  auto drafter = drafter_for(*target, options);
  const Tokens text = test::random_tokens(3, 90, n_vocab);
  Sampler sampler{SamplingParams()};
  Tokens draft;
  const DraftTask task = {.sequence = 1,
                          .history = std::span(text).first(70),
                          .sampler = &sampler,
                          .length = 2,
                          .draft = &draft};
  CHECK(drafter->look(1, task.history).backlog == 70);
  test::require_ok(drafter->draft({&task, 1}));
  CHECK(draft.size() == 2);
  CHECK(drafter->look(1, task.history).backlog == 1);
  CHECK(drafter->look(1, std::span(text).first(75)).backlog == 5);
  drafter->forget(1);
  CHECK(drafter->look(2, text).backlog == 90 - 64);  // of 16 tokens, whole blocks
}

TEST_CASE("a draft model with another vocabulary is refused by the token that differs") {
  const ModelFile file(test::tiny_model("llama"));
  test::TempDir folder;
  const auto path = folder.path() / "other.gguf";
  test::TinyFile other = test::write_tiny_model(test::tiny_model("llama"));
  const auto target = test::open(target_options(file.path(), 1));
  const Tokenizer& tokenizer = *target->tokenizer();
  std::vector<std::string> tokens;
  for (TokenId id = 0; id < tokenizer.size(); ++id) tokens.emplace_back(tokenizer.text(id));
  tokens.back() = "something else";
  other.writer.set_strs("tokenizer.ggml.tokens", tokens);
  test::require_ok(other.save(path));
  const auto refused = make_model_drafter(test::open(target_options(path, 1)), *target);
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code == ErrorCode::unsupported);
  CHECK(refused.error().message.find(concat("token ", tokenizer.size() - 1, " ")) !=
        std::string::npos);
  CHECK(refused.error().message.find("something else") != std::string::npos);
}

}  // namespace
}  // namespace lm
