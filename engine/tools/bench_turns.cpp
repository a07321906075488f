#include "engine/tools/bench_turns.h"

#include <unistd.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "engine/core/text.h"
#include "engine/runtime/engine.h"
#include "engine/tools/bench_answers.h"

namespace lm {
namespace {

constexpr int kAdded = 32;  // tokens of the second question
constexpr int kAnswer = 4;  // tokens

// Tokens that mean nothing, but are always the same ones.
std::vector<TokenId> text_of(size_t n, int n_vocab) {
  std::vector<TokenId> tokens(n);
  uint32_t state = 7;
  for (TokenId& token : tokens) {
    state = state * 1664525 + 1013904223;
    token = TokenId((state >> 8) % uint32_t(n_vocab));
  }
  return tokens;
}

struct Folder {
  std::filesystem::path path;

  explicit Folder(const std::filesystem::path& parent)
      : path(parent / concat("llm-bench-", ::getpid())) {}
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() {
    std::error_code failed;
    std::filesystem::remove_all(path, failed);
  }
};

struct Turn {
  double first_token_seconds;
  std::vector<TokenId> tokens;  // the prompt and the answer
};

Result<Turn> ask(Engine& engine, std::vector<TokenId> prompt) {
  Request request;
  request.prompt = prompt;
  request.sampling.temperature = 0;
  request.max_tokens = kAnswer;
  request.ignore_end = true;
  const BenchAnswer answered = LM_TRY(answer(engine, std::move(request)));
  prompt.insert(prompt.end(), answered.tokens.begin(), answered.tokens.end());
  return Turn{answered.timings.first_token_seconds(), std::move(prompt)};
}

}  // namespace

Result<TurnTimes> bench_turns(const Registry& registry, const BenchOptions& wanted, int history,
                              const std::filesystem::path& folder) {
  InstanceOptions options = wanted.instance;
  std::optional<MemoryFile> file;
  if (wanted.synthetic) {
    file = LM_TRY(generate_synthetic(*wanted.synthetic));
    options.model_path = file->path();
  }
  const Folder disk(folder);
  options.n_ctx = std::max(options.n_ctx, history + 2 * (kAdded + kAnswer));
  options.need_tokenizer = false;
  const auto start = [&]() -> Result<std::unique_ptr<Engine>> {
    EngineOptions engine_options;
    engine_options.disk = LM_TRY(DiskCache::open({.folder = disk.path}));
    return Engine::start(LM_TRY(Instance::open(registry, options)), std::move(engine_options));
  };
  TurnTimes times{.history = history, .added = kAdded};
  std::vector<TokenId> next;
  {
    const std::unique_ptr<Engine> engine = LM_TRY(start());
    const int n_vocab = engine->instance().config().n_vocab;
    LM_TRY(ask(*engine, {1, 2, 3}));  // warms up
    const Turn first = LM_TRY(ask(*engine, text_of(size_t(history), n_vocab)));
    times.first = first.first_token_seconds;
    next = first.tokens;
    const std::vector<TokenId> question = text_of(kAdded, n_vocab);
    next.insert(next.end(), question.begin(), question.end());
    times.memory = LM_TRY(ask(*engine, next)).first_token_seconds;
  }
  const std::unique_ptr<Engine> engine = LM_TRY(start());
  LM_TRY(ask(*engine, {3, 2, 1}));
  times.disk = LM_TRY(ask(*engine, next)).first_token_seconds;
  return times;
}

Json turns_json(const TurnTimes& times) {
  return {{"history_tokens", times.history},
          {"added_tokens", times.added},
          {"first_turn_seconds", times.first},
          {"second_turn_seconds", times.memory},
          {"second_turn_disk_seconds", times.disk}};
}

}  // namespace lm
