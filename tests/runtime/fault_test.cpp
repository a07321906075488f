// A device that refuses memory or fails in the middle: an error that says so, and nothing is lost.
#include <atomic>
#include <vector>

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
class FaultyBackend final : public Backend {
 public:
  explicit FaultyBackend(std::unique_ptr<Backend> inner) : inner_(std::move(inner)) {}

  std::string_view name() const override { return inner_->name(); }
  std::string_view detail() const override { return inner_->detail(); }
  Result<std::unique_ptr<Buffer>> alloc(size_t bytes) override {
    if (faults.allocs_left-- <= 0) {
      return Error{ErrorCode::out_of_memory, "the device refused memory"};
    }
    return inner_->alloc(bytes);
  }
  Result<LoadedWeight> load_weight(const HostTensor& host, WeightUse use) override {
    if (faults.allocs_left-- <= 0) {
      return Error{ErrorCode::out_of_memory, "the device refused memory"};
    }
    return inner_->load_weight(host, use);
  }
  Status reserve(const StepLimits& limits) override { return inner_->reserve(limits); }
  void upload(Tensor dst, std::span<const std::byte> bytes) override { inner_->upload(dst, bytes); }
  void download(std::span<std::byte> dst, Tensor src) override { inner_->download(dst, src); }
  Status synchronize() override {
    if (faults.steps_left-- <= 0) return faults.of_step;
    return inner_->synchronize();
  }

  void embed(Tensor table, Tensor ids, float scale, Tensor out) override {
    inner_->embed(table, ids, scale, out);
  }
  void rms_norm(const RmsNorm& op) override { inner_->rms_norm(op); }
  void linear(const Linear& op) override { inner_->linear(op); }
  void rope(const Rope& op, const StepView& step) override { inner_->rope(op, step); }
  void kv_write(const KvWrite& op, const StepView& step) override { inner_->kv_write(op, step); }
  void attention(const Attention& op, const StepView& step) override {
    inner_->attention(op, step);
  }
  void glu(const Glu& op) override { inner_->glu(op); }
  void moe_route(const MoeRoute& op) override { inner_->moe_route(op); }
  void moe_ffn(const MoeFfn& op) override { inner_->moe_ffn(op); }
  void add(Tensor a, Tensor b, Tensor out) override { inner_->add(a, b, out); }
  void gather_rows(Tensor x, Tensor row_ids, Tensor out) override {
    inner_->gather_rows(x, row_ids, out);
  }
  void gather_columns(Tensor x, Tensor columns, Tensor out) override {
    inner_->gather_columns(x, columns, out);
  }

 private:
  std::unique_ptr<Backend> inner_;
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
