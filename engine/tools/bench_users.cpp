#include "engine/tools/bench_users.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "engine/core/text.h"
#include "engine/runtime/engine.h"
#include "engine/tools/bench_answers.h"

namespace lm {
namespace {

constexpr int kQuestion = 16;      // tokens
constexpr int kStreamed = 8;       // tokens of each stream before the long prompt comes
constexpr int kSmallChunk = 64;    // tokens: half of what a pass reads of a prompt beside streams
constexpr int kSpareTokens = 512;  // of each stream: they may be fast, and the prompt's start late
constexpr int kAnswer = 4;         // tokens, to the long prompt

// Tokens of a stream that is to last until the long prompt is read.
int stream_length(int n_prompt) {
  return kStreamed + n_prompt / kSmallChunk + kSpareTokens;
}

// A user's question of tokens that mean nothing, like nobody else's.
Request question(int user, int n_prompt, int n_answer, int n_vocab) {
  Request request;
  uint32_t state = uint32_t(user) * 65537 + uint32_t(n_prompt);  // Numerical Recipes' constants
  for (int i = 0; i < n_prompt; ++i) {
    state = state * 1664525 + 1013904223;
    request.prompt.push_back(TokenId((state >> 8) % uint32_t(n_vocab)));
  }
  request.user = uint64_t(user);
  request.sampling.seed = uint64_t(user);
  request.max_tokens = n_answer;
  request.ignore_end = true;
  return request;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Tokens a second of all that ask at once, from the first request to the last token.
Result<double> speed(Engine& engine, int users, int n_tokens) {
  BenchAnswers answers{size_t(users)};
  const int n_vocab = engine.instance().config().n_vocab;
  for (int user = 0; user < users; ++user) {
    LM_TRY(answers.ask(engine, question(user, kQuestion, n_tokens, n_vocab)));
  }
  double seconds = 0;
  size_t n_answered = 0;
  const std::vector<BenchAnswer> all = LM_TRY(answers.wait());
  for (const BenchAnswer& answer : all) {
    if (!answer.seconds.empty()) seconds = std::max(seconds, answer.seconds.back());
    n_answered += answer.tokens.size();
  }
  return double(n_answered) / std::max(seconds, 1e-9);
}

// The longest that a stream stopped, after its first tokens, until the prompt was read.
Status note_gaps(const BenchAnswer& stream, double until, UsersResult& result) {
  if (stream.seconds.empty() || stream.seconds.back() < until) {
    return Error{ErrorCode::device, concat("expected streams that last until the prompt is read, "
                                           "found one that ended after ",
                                           stream.tokens.size(), " tokens")};
  }
  for (size_t i = kStreamed; i < stream.tokens.size() && stream.seconds[i - 1] < until; ++i) {
    result.longest_gap = std::max(result.longest_gap, stream.seconds[i] - stream.seconds[i - 1]);
    result.most_steps = std::max(result.most_steps, int(stream.steps[i] - stream.steps[i - 1]));
  }
  return ok();
}

// The others' streams while the last user's prompt is read.
Status interrupt(Engine& engine, int n_prompt, UsersResult& result) {
  const int n_vocab = engine.instance().config().n_vocab, streams = result.users - 1;
  std::vector<RequestId> ids;
  BenchAnswers answers{size_t(result.users)};
  for (int user = 0; user < streams; ++user) {
    Request stream = question(user, kQuestion, stream_length(n_prompt), n_vocab);
    ids.push_back(LM_TRY(answers.ask(engine, std::move(stream))));
  }
  Request late = question(streams, n_prompt, kAnswer, n_vocab);
  answers.wait_for_tokens(kStreamed);
  LM_TRY(answers.ask(engine, std::move(late)));
  answers.wait_for_tokens(kAnswer);
  for (const RequestId id : ids) engine.cancel(id);
  const std::vector<BenchAnswer> all = LM_TRY(answers.wait());

  const BenchAnswer& prompt = all.back();
  result.prompt_tokens = n_prompt;
  result.chunks = prompt.timings.steps - prompt.timings.generate_steps;
  result.chunk_seconds = prompt.timings.prompt_seconds / std::max(result.chunks, 1);
  const double until = prompt.seconds.front();
  for (size_t s = 0; s + 1 < all.size(); ++s) LM_TRY(note_gaps(all[s], until, result));
  return ok();
}

}  // namespace

Result<UsersResult> bench_users(const Registry& registry, const BenchOptions& wanted, int users) {
  InstanceOptions options = wanted.instance;
  std::optional<MemoryFile> file;
  if (wanted.synthetic) {
    file = LM_TRY(generate_synthetic(*wanted.synthetic));
    options.model_path = file->path();
  }
  const int n_prompt = wanted.prompts.empty() ? 0 : wanted.prompts.front();
  const int n_tokens = wanted.generations.empty() ? 0 : wanted.generations.front();
  const int needed =
      n_prompt > 0 ? std::max(kQuestion + stream_length(n_prompt), n_prompt + kAnswer) : 0;
  options.n_ctx = std::max({options.n_ctx, needed, kQuestion + std::max(n_tokens, kAnswer)});
  options.max_seqs = users;
  options.need_tokenizer = false;
  const std::unique_ptr<Engine> engine = Engine::start(LM_TRY(Instance::open(registry, options)));
  UsersResult result{.users = users};
  LM_TRY(speed(*engine, users, kAnswer));  // warms up
  if (n_tokens > 0) {
    std::vector<double> one, all, ratios;
    for (int run = 0; run < wanted.repetitions; ++run) {
      one.push_back(LM_TRY(speed(*engine, 1, n_tokens)));
      all.push_back(LM_TRY(speed(*engine, users, n_tokens)));
      ratios.push_back(all.back() / one.back());
    }
    result.one = median(std::move(one));
    result.all = median(std::move(all));
    result.ratio = median(std::move(ratios));
  }
  if (n_prompt > 0) LM_TRY(interrupt(*engine, n_prompt, result));
  return result;
}

Json users_json(const UsersResult& result) {
  Json json = {{"users", result.users}};
  if (result.one > 0) {
    json["one_tokens_per_second"] = result.one;
    json["all_tokens_per_second"] = result.all;
    json["ratio"] = result.ratio;
  }
  if (result.prompt_tokens > 0) {
    json["prompt_tokens"] = result.prompt_tokens;
    json["chunks"] = result.chunks;
    json["chunk_seconds"] = result.chunk_seconds;
    json["longest_gap_seconds"] = result.longest_gap;
    json["most_steps_between_tokens"] = result.most_steps;
  }
  return json;
}

}  // namespace lm
