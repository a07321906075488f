// What can go wrong with a device: none, too old, without memory, lost. Only the emulation can be
// told to do that.
#include <vector>

#include "backends/cuda/cuda_backend.h"
#include "tests/cuda/both.h"
#include "tests/cuda/with_device.h"
#include "tests/runtime/support.h"
#include "tests/simt/simt.h"

namespace lm::test {
namespace {

InstanceOptions on_cuda(const std::filesystem::path& path) {
  InstanceOptions options = options_for(path);
  options.device = "cuda";
  return options;
}

TEST_CASE("CUDA faults: without a device the processor computes, and the reason is known") {
  simt::DeviceSettings none = simt::device_settings();
  none.n_devices = 0;
  const WithDevice device(none);
  const std::vector<DeviceInfo> devices = describe_all(cuda::registry_entry());
  REQUIRE(devices.size() == 1);
  CHECK(devices[0].unavailable.find("driver") != std::string::npos);
  CHECK(require_ok(both().open("auto", {}))->name() == "cpu");
  const Result<std::unique_ptr<Backend>> wanted = both().open("cuda", {});
  REQUIRE_FALSE(wanted.ok());
  CHECK(wanted.error().message.find("driver") != std::string::npos);
}

TEST_CASE("CUDA faults: a device that is too old is not used") {
  simt::DeviceSettings old = simt::device_settings();
  old.compute_capability = 70;
  const WithDevice device(old);
  const std::vector<DeviceInfo> devices = describe_all(cuda::registry_entry());
  REQUIRE(devices.size() == 1);
  CHECK(devices[0].present);
  CHECK(devices[0].unavailable ==
        "expected compute capability 7.5 or more, found compute capability 7.0");
  CHECK(require_ok(both().open("auto", {}))->name() == "cpu");
}

TEST_CASE("CUDA faults: a device without memory refuses the model and keeps nothing") {
  const ModelFile file(widened(tiny_model("llama"), DType::q4_0));
  simt::DeviceSettings small = simt::device_settings();
  small.memory_bytes = 100000;
  const WithDevice device(small);
  const Result<std::unique_ptr<Instance>> instance = Instance::open(both(), on_cuda(file.path()));
  REQUIRE_FALSE(instance.ok());
  CHECK(instance.error().code == ErrorCode::out_of_memory);
  CHECK(simt::live_allocations() == 0);
}

TEST_CASE("CUDA faults: whichever allocation fails, loading ends in one error and keeps nothing") {
  const ModelFile file(widened(tiny_model("llama"), DType::q4_0));
  int n_failed = 0;
  for (int nth = 1; nth < 200; ++nth) {
    simt::fail_allocation(nth);
    const Result<std::unique_ptr<Instance>> instance = Instance::open(both(), on_cuda(file.path()));
    if (instance.ok()) break;
    ++n_failed;
    CHECK(instance.error().code == ErrorCode::out_of_memory);
    CHECK(instance.error().message.find('\n') == std::string::npos);
    CHECK(simt::live_allocations() == 0);
  }
  simt::fail_allocation(0);
  CHECK(n_failed > 10);
  CHECK(n_failed < 199);
}

TEST_CASE("CUDA faults: a device that is lost ends the answer with an error") {
  const ModelFile file(widened(tiny_model("llama"), DType::q4_0));
  for (const int calls : {1, 7, 40, 200, 700}) {
    CAPTURE(calls);
    const auto engine = Engine::start(require_ok(Instance::open(both(), on_cuda(file.path()))));
    simt::lose_device(calls);
    const Answer answer = run(*engine, sampled_request(random_tokens(1, 20, 300), 200, 3));
    simt::lose_device(0);
    CHECK(answer.finish == Finish::error);
    CHECK(answer.error_code == ErrorCode::device);
    CHECK(answer.final_events == 1);
    CHECK_FALSE(answer.error.empty());
  }
}

}  // namespace
}  // namespace lm::test
