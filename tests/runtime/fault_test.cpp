// A device that refuses memory or fails in the middle: an error that says so, and nothing is lost.
#include <atomic>
#include <vector>

#include "backends/forwarding_backend.h"
#include "engine/runtime/engine.h"
#include "tests/runtime/support.h"

namespace lm {
namespace {

using test::ModelFile;

// Which call fails; shared by all faulty backends of a test case.
struct Faults {
  std::atomic<int> allocs_left{1 << 30}, steps_left{1 << 30};
  Error of_step{ErrorCode::device, "the device is gone"};
};
Faults faults;  // test-only: BackendEntry::open is a plain function

// The CPU backend behind a wrapper that the instance calls. (Operations go to the room of their
// tensors: the CPU backend itself.)
class FaultyBackend final : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;

  Result<std::unique_ptr<Buffer>> alloc(size_t bytes) override {
    if (faults.allocs_left-- <= 0) {
      return Error{ErrorCode::out_of_memory, "the device refused memory"};
    }
    return inner().alloc(bytes);
  }
  Result<LoadedWeight> load_weight(const HostTensor& host, WeightUse use) override {
    if (faults.allocs_left-- <= 0) {
      return Error{ErrorCode::out_of_memory, "the device refused memory"};
    }
    return inner().load_weight(host, use);
  }
  Status synchronize() override {
    if (faults.steps_left-- <= 0) return faults.of_step;
    return inner().synchronize();
  }
};

Registry faulty_registry() {
  BackendEntry entry = cpu::registry_entry();
  entry.open = [](std::string_view device,
                  const BackendOptions& options) -> Result<std::unique_ptr<Backend>> {
    return std::unique_ptr<Backend>(
        std::make_unique<FaultyBackend>(LM_TRY(cpu::registry_entry().open(device, options))));
  };
  Registry registry;
  registry.add(entry);
  return registry;
}

TEST_CASE("whichever allocation fails, opening says so") {
  const ModelFile file(test::tiny_model("llama"));
  const InstanceOptions options = test::options_for(file.path());
  int failures = 0;
  for (int n = 0; n < 200; ++n) {
    faults.allocs_left = n;
    const auto result = Instance::open(faulty_registry(), options);
    if (result.ok()) break;
    CHECK(result.error().code == ErrorCode::out_of_memory);
    ++failures;
  }
  CHECK(failures > 10);   // weights, KV, step inputs, logits, activations
  CHECK(failures < 200);  // and then it opens
  faults.allocs_left = 1 << 30;
}

TEST_CASE("a step that fails ends the requests in it, and the engine serves the next") {
  const ModelFile file(test::tiny_model("llama"));
  InstanceOptions options = test::options_for(file.path());
  options.max_seqs = 2;
  faults.steps_left = 1 << 30;
  const auto engine = Engine::start(test::require_ok(Instance::open(faulty_registry(), options)));
  const int all_blocks = engine->instance().pool().n_blocks();
  faults.steps_left = 5;
  const test::Answer broken = test::run(*engine, test::sampled_request({1, 2, 3}, 50, 1));
  CHECK(broken.finish == Finish::error);
  CHECK(broken.error == "the device is gone");
  CHECK(broken.error_code == ErrorCode::device);
  CHECK(broken.tokens.size() == 5);
  CHECK(broken.final_events == 1);
  CHECK(engine->totals().steps == 5);  // a failed one counts in nothing
  faults.of_step = Error{ErrorCode::out_of_memory, "no memory is left"};
  faults.steps_left = 5;
  const test::Answer starved = test::run(*engine, test::sampled_request({1, 2, 3}, 50, 1));
  CHECK(starved.finish == Finish::error);
  CHECK(starved.error_code == ErrorCode::out_of_memory);
  faults.steps_left = 1 << 30;
  const test::Answer whole = test::run(*engine, test::sampled_request({1, 2, 3}, 50, 1));
  CHECK(whole.finish == Finish::length);
  CHECK(std::equal(broken.tokens.begin(), broken.tokens.end(), whole.tokens.begin()));
  CHECK(all_blocks == engine->instance().pool().n_blocks());
}

}  // namespace
}  // namespace lm
