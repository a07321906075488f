// Layers with a window keep what the window reaches and no more; no bit of any answer shows it.
#include <algorithm>
#include <vector>

#include "engine/runtime/engine.h"
#include "tests/model/run_model.h"
#include "tests/runtime/gated_engine.h"
#include "tests/runtime/support.h"

namespace lm {
namespace {

using test::Answer;
using test::Listener;
using test::ModelFile;

constexpr int kContext = 700, kBlock = 4, kChunk = 24;

std::vector<TokenId> text_of(uint64_t seed, size_t n) {
  return test::random_tokens(seed, n, 200);
}

// Every second layer sees all, two of seven do, none does.
std::vector<test::TinyModel> windowed_models() {
  test::TinyModel mistral = test::tiny_model("gpt-oss");
  for (const test::TinyModel& model : test::tiny_models()) {
    if (model.name == "mistral") mistral = model;
  }
  return {test::tiny_model("gpt-oss"), test::tiny_model("gemma3"), mistral};
}

InstanceOptions options_for(const ModelFile& file, int max_seqs) {
  InstanceOptions options = test::options_for(file.path());
  options.n_ctx = kContext;
  options.max_seqs = max_seqs;
  options.block_size = kBlock;
  options.max_step_tokens = kChunk;
  return options;
}

std::unique_ptr<Engine> start(const InstanceOptions& options) {
  return Engine::start(test::open(options));
}

TEST_CASE(
    "windows: a context far beyond the window has the bits of a cache that keeps everything") {
  for (const test::TinyModel& model : windowed_models()) {
    CAPTURE(model.name);
    const ModelFile file(model);
    const gguf::File opened = test::require_ok(gguf::File::open(file.path()));
    test::RunOptions whole;
    whole.block_size = kBlock;
    whole.max_tokens = 64;
    whole.n_blocks = kContext / kBlock;
    whole.n_ctx = kContext;
    test::ModelRunner runner(opened, whole);
    const std::vector<TokenId> tokens = text_of(1, kContext);
    const std::vector<float> expected = runner.run(tokens);

    InstanceOptions options = options_for(file, 1);
    options.max_step_logits = kChunk;
    const auto instance = test::open(options);
    BlockTable table(instance->pool());
    std::vector<float> got;
    test::Random random(3);
    for (size_t first = 0, n = 0; first < tokens.size(); first += n) {
      n = std::min(size_t(1 + random.below(kChunk)), tokens.size() - first);
      REQUIRE(table.prepare(int(first), int(first + n)));
      const StepRow row{.tokens = std::span(tokens).subspan(first, n),
                        .first_position = int(first),
                        .table = &table,
                        .n_logits = int(n)};
      const std::span<float> logits = test::require_ok(instance->step(std::span(&row, 1)));
      got.insert(got.end(), logits.begin(), logits.end());
    }
    CHECK(got == expected);
  }
}

TEST_CASE("windows: memory is bounded by the window, whatever the context is") {
  for (const test::TinyModel& model : windowed_models()) {
    CAPTURE(model.name);
    const ModelFile file(model);
    const auto engine = start(options_for(file, 1));
    const Instance& instance = engine->instance();
    const BlockPool& pool = instance.pool();
    CHECK(pool.n_blocks() == kContext / kBlock);
    const int most = most_window_pages(pool.window(), kChunk, kBlock);
    CHECK(pool.pages().n_pages() <= most + 2 * (pool.window() / kBlock + 2));
    CHECK(pool.pages().n_pages() < pool.n_blocks() / 6);

    size_t windowed = 0;
    for (const LayerSpec& layer : instance.config().layers) windowed += layer.attn.window > 0;
    const size_t n_layers = instance.config().layers.size();
    const AttnSpec& attn = instance.config().layers[0].attn;
    const uint64_t layer_bytes =
        2 * uint64_t(attn.n_kv_heads) * uint64_t(attn.head_dim) * 4 * kBlock;
    const uint64_t everything = layer_bytes * n_layers * uint64_t(pool.n_blocks());
    const uint64_t saved =
        layer_bytes * windowed * uint64_t(pool.n_blocks() - pool.pages().n_pages());
    CHECK(instance.kv_bytes() >= everything - saved);
    CHECK(instance.kv_bytes() <= everything - saved + 64 * 2 * n_layers);  // alignment

    const Answer full = test::run(*engine, test::sampled_request({1, 2, 3}, -1, 7));
    CHECK(full.tokens.size() == kContext - 3);
  }
}

TEST_CASE("windows: alone, in a crowd, continued, edited: the same bits") {
  for (const test::TinyModel& model : windowed_models()) {
    CAPTURE(model.name);
    const ModelFile file(model);
    const auto alone = [&](const std::vector<TokenId>& prompt, uint64_t seed) {
      return test::run(*start(options_for(file, 1)), test::sampled_request(prompt, 60, seed));
    };
    // Memory for three contexts: eight sequences have to share it.
    InstanceOptions options = options_for(file, 8);
    InstanceOptions three = options_for(file, 3);
    const auto roomy = test::open(three);
    options.kv_budget = roomy->kv_bytes();
    const auto engine = start(options);
    std::vector<std::vector<TokenId>> prompts;
    std::vector<Answer> expected;
    std::vector<Listener> listeners(8);
    for (uint64_t i = 0; i < 8; ++i) {
      std::vector<TokenId> prompt = text_of(5, 130);  // the same beginning
      const std::vector<TokenId> own = text_of(10 + i, 20 + i * 60);
      prompt.insert(prompt.end(), own.begin(), own.end());
      prompts.push_back(prompt);
      expected.push_back(alone(prompt, i));
    }
    for (uint64_t i = 0; i < 8; ++i) {
      Request request = test::sampled_request(prompts[i], 60, i);
      listeners[i].attach(request);
      test::require_ok(engine->submit(std::move(request)));
    }
    for (uint64_t i = 0; i < 8; ++i) CHECK(listeners[i].wait() == expected[i]);

    // The next turn computes what is new, an edit what comes after it, or everything.
    std::vector<TokenId> next = prompts[7];
    next.insert(next.end(), listeners[7].wait().tokens.begin(), listeners[7].wait().tokens.end());
    next.push_back(9);
    const Answer continued = test::run(*engine, test::sampled_request(next, 60, 50));
    CHECK(continued.timings.cached_tokens >= int(next.size()) - 2 - kBlock);
    CHECK(continued == alone(next, 50));
    for (const size_t at : {next.size() - 70, size_t(140), size_t(3)}) {
      std::vector<TokenId> edited = next;
      edited[at] = (edited[at] + 1) % 200;
      CHECK(test::run(*engine, test::sampled_request(edited, 60, at)) == alone(edited, at));
    }
  }
}

TEST_CASE("windows: the end of the last prompt stays, so that it can be answered again") {
  for (const test::TinyModel& model : windowed_models()) {
    CAPTURE(model.name);
    const ModelFile file(model);
    const auto engine = start(options_for(file, 1));
    const std::vector<TokenId> prompt = text_of(5, 300);
    test::run(*engine, test::sampled_request(prompt, 100, 1));
    const Answer again = test::run(*engine, test::sampled_request(prompt, 100, 2));
    CHECK(again.timings.cached_tokens >= 299 - kBlock);
    CHECK(again == test::run(*start(options_for(file, 1)), test::sampled_request(prompt, 100, 2)));
  }
}

TEST_CASE("windows: drafts that fail, samples that share and contexts that shift change nothing") {
  for (const test::TinyModel& model : windowed_models()) {
    CAPTURE(model.name);
    const ModelFile file(model);
    const std::vector<TokenId> prompt = text_of(5, 90);
    const auto request = [&](uint64_t seed) {
      Request asked = test::sampled_request(prompt, 300, seed);
      asked.sampling.temperature = 0.3f;  // repeats itself: there is something to draft
      asked.overflow = Overflow::shift;
      return asked;
    };
    InstanceOptions options = options_for(file, 3);
    options.n_ctx = 256;
    const Answer plain = test::run(*start(options), request(1));
    CHECK(plain.timings.dropped_tokens > 0);
    InstanceOptions drafting = options;
    drafting.draft_rows = 16;
    EngineOptions speculating;
    speculating.speculation = {.drafter = make_ngram_drafter(), .fixed_length = 8};
    const auto engine = Engine::start(test::open(drafting), std::move(speculating));
    const Answer drafted = test::run(*engine, request(1));
    CHECK(drafted.timings.drafted_tokens > drafted.timings.accepted_tokens);
    CHECK(drafted == plain);

    Request several = request(1);
    several.n_samples = 3;
    std::vector<std::vector<TokenId>> answers(3);
    std::mutex mutex;
    std::condition_variable changed;
    int finished = 0;
    several.on_token = [&](const TokenEvent& event) {
      const std::lock_guard lock(mutex);
      if (event.token >= 0) answers[size_t(event.sample)].push_back(event.token);
      if (event.finish != Finish::none) ++finished;
      changed.notify_all();
    };
    test::require_ok(engine->submit(std::move(several)));
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return finished == 3; });
    CHECK(answers[0] == plain.tokens);
    CHECK(answers[1] == test::run(*start(options), request(2)).tokens);
  }
}

TEST_CASE("windows: what a later program loads goes on with the same bits") {
  for (const test::TinyModel& model : windowed_models()) {
    CAPTURE(model.name);
    const ModelFile file(model);
    const test::TempDir folder;
    const StampedFile stamped = test::require_ok(stamp_file(file.path()));
    REQUIRE(fingerprint(std::span(&stamped, 1), folder.path(), std::atomic<bool>(false)));
    const auto with_disk = [&] {
      EngineOptions options;
      options.disk = test::require_ok(DiskCache::open({.folder = folder.path()}));
      return Engine::start(test::open(options_for(file, 1)), std::move(options));
    };
    std::vector<TokenId> text = text_of(5, 300);
    const Answer first = test::run(*with_disk(), test::sampled_request(text, 41, 1));
    text.insert(text.end(), first.tokens.begin(), first.tokens.end());
    text.push_back(3);
    const Answer restored = test::run(*with_disk(), test::sampled_request(text, 40, 2));
    CHECK(restored.timings.loaded_tokens >= 336);
    CHECK(restored == test::run(*start(options_for(file, 1)), test::sampled_request(text, 40, 2)));
    // A place that no memory would have kept.
    std::vector<TokenId> edited(text.begin(), text.begin() + 150);
    edited.push_back(7);
    const Answer changed = test::run(*with_disk(), test::sampled_request(edited, 40, 2));
    CHECK(changed.timings.loaded_tokens >= 144);
    CHECK(changed == test::run(*start(options_for(file, 1)), test::sampled_request(edited, 40, 2)));
  }
}

TEST_CASE("windows: what is computed before the file is known by its bytes is kept all the same") {
  for (const test::TinyModel& model : windowed_models()) {
    CAPTURE(model.name);
    const ModelFile file(model);
    const test::TempDir folder;
    std::vector<TokenId> text = text_of(5, 300);
    {
      test::GatedEngine gated(test::open(options_for(file, 1)), folder.path());
      const Answer first = test::run(gated.engine(), test::sampled_request(text, 41, 1));
      text.insert(text.end(), first.tokens.begin(), first.tokens.end());
      text.push_back(3);
    }
    EngineOptions options;
    options.disk = test::require_ok(DiskCache::open({.folder = folder.path()}));
    const auto later = Engine::start(test::open(options_for(file, 1)), std::move(options));
    const Answer restored = test::run(*later, test::sampled_request(text, 40, 2));
    CHECK(restored.timings.loaded_tokens == 340);
    CHECK(restored == test::run(*start(options_for(file, 1)), test::sampled_request(text, 40, 2)));
  }
}

}  // namespace
}  // namespace lm
