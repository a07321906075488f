// What a device delivers that has failed is not what was computed: none of it is saved, and what
// was saved before is of use.
#include <string>
#include <vector>

#include "tests/runtime/gated_engine.h"
#include "tests/runtime/late_instance.h"

namespace lm {
namespace {

using test::Answer;
using test::Listener;
using test::ModelFile;

test::Lateness lateness;  // for BackendEntry::open, a plain function

EngineOptions with_disk(const std::filesystem::path& folder) {
  EngineOptions options;
  options.disk = test::require_ok(DiskCache::open({.folder = folder}));
  return options;
}

Request request_of(std::vector<TokenId> prompt) {
  Request request;
  request.prompt = std::move(prompt);
  request.max_tokens = 12;
  request.ignore_end = true;
  return request;
}

// The device is lost when the client hears of the n-th token: before that step's blocks are saved.
void run_and_lose(Engine& engine, Request request, int n) {
  Listener listener;
  listener.attach(request);
  request.on_token = [n, tell = std::move(request.on_token)](const TokenEvent& event) mutable {
    if (--n == 0) lateness.fails_after = 0;
    tell(event);
  };
  test::require_ok(engine.submit(std::move(request)));
  CHECK(listener.wait().finish == Finish::error);
}

// From now on programs know at once which model it is.
void make_known(const std::filesystem::path& model, const std::filesystem::path& folder) {
  const StampedFile stamped = test::require_ok(stamp_file(model));
  REQUIRE(fingerprint(std::span(&stamped, 1), folder, std::atomic<bool>(false)));
}

size_t n_block_files(const std::filesystem::path& folder) {
  size_t n = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder / "kv")) {
    n += entry.is_regular_file() ? 1 : 0;
  }
  return n;
}

struct Case {
  const char* architecture;
  bool run_ahead;
  bool gated;  // what waits to be saved is read long after it was computed
  int n;       // tokens, see run_and_lose()
  int loaded_tokens;
};

TEST_CASE("save faults: what a lost device delivers is not saved") {
  // Token 2 makes the third block of 16 whole, token 5 is in the fourth.
  const Case cases[] = {{"llama", false, false, 2, 32},  {"llama", false, false, 5, 48},
                        {"llama", true, false, 2, 32},   {"llama", true, false, 5, 48},
                        {"llama", false, true, 5, 0},    {"llama", true, true, 5, 0},
                        {"gemma3", false, false, 2, 32}, {"gemma3", true, false, 2, 32},
                        {"gemma3", false, true, 2, 32},  {"gemma3", true, true, 2, 32},
                        {"gemma3", true, true, 5, 48}};
  for (const Case& c : cases) {
    CAPTURE(std::string(c.architecture));
    CAPTURE(c.run_ahead);
    CAPTURE(c.gated);
    CAPTURE(c.n);
    const ModelFile file(test::tiny_model(c.architecture));
    InstanceOptions options = test::options_for(file.path());
    options.n_ctx = 96;
    options.max_step_tokens = 32;
    options.backend.run_ahead = c.run_ahead;
    const std::vector<TokenId> prompt = test::random_tokens(1, 47, 200);
    lateness = {};
    std::vector<TokenId> longer = prompt;
    const Answer first =
        test::run(*Engine::start(test::open_late<lateness>(options)), request_of(prompt));
    longer.insert(longer.end(), first.tokens.begin(), first.tokens.end());
    const Answer expected =
        test::run(*Engine::start(test::open_late<lateness>(options)), request_of(longer));

    const test::TempDir folder;
    if (c.gated) {
      test::GatedEngine gated(test::open_late<lateness>(options), folder.path());
      run_and_lose(gated.engine(), request_of(prompt), c.n);
    } else {
      make_known(file.path(), folder.path());
      const auto engine =
          Engine::start(test::open_late<lateness>(options), with_disk(folder.path()));
      run_and_lose(*engine, request_of(prompt), c.n);
    }
    lateness = {};
    const auto engine = Engine::start(test::open_late<lateness>(options), with_disk(folder.path()));
    const Answer answer = test::run(*engine, request_of(longer));
    CHECK(answer.timings.loaded_tokens == c.loaded_tokens);
    CHECK(answer == expected);
  }
}

TEST_CASE("save faults: a landing that goes has landed, so that nothing arrives where it was") {
  lateness = {};
  const auto backend = test::require_ok(test::late_registry<lateness>().open("cpu", {}));
  const auto buffer = test::require_ok(backend->alloc(64));
  const Tensor sent = {.buffer = buffer.get(), .shape = {1, 1, 1, 16}, .row_bytes = 64};
  const auto sends = [&] {
    const auto landing = test::require_ok(backend->make_landing(64));
    landing->send(std::span(&sent, 1));
  };
  sends();
  CHECK(lateness.n_idle == 1);  // it was waited for
}

TEST_CASE("save faults: without a block that did not arrive nothing behind it is saved") {
  const ModelFile file(test::tiny_model("gemma3"));
  InstanceOptions options = test::options_for(file.path());
  options.block_size = 8;
  options.max_step_tokens = 256;
  const test::TempDir folder;
  make_known(file.path(), folder.path());
  lateness = {};
  {
    // More whole blocks in a step than are sent for at once. The others are copied, because a
    // window moves on, and the device is lost before the first have arrived.
    const auto engine = Engine::start(test::open_late<lateness>(options), with_disk(folder.path()));
    run_and_lose(*engine, request_of(test::random_tokens(1, 8 * 24 + 1, 200)), 2);
    CHECK(lateness.n_downloads > 0);
  }
  CHECK(n_block_files(folder.path()) == 0);
}

}  // namespace
}  // namespace lm
