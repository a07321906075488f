// Two devices: a backend's work goes to its own, whatever the calling thread used before. Only the
// emulation has two everywhere.
#include <cuda_runtime.h>

#include <thread>
#include <vector>

#include "backends/cuda/cuda_backend.h"
#include "tests/cuda/both.h"
#include "tests/cuda/with_device.h"
#include "tests/runtime/support.h"
#include "tests/simt/simt.h"

namespace lm::test {
namespace {

class TwoDevices {
 public:
  TwoDevices() : devices_(two()) {}
  ~TwoDevices() { CHECK(simt::live_allocations() == 0); }

 private:
  static simt::DeviceSettings two() {
    simt::DeviceSettings settings = simt::device_settings();
    settings.n_devices = 2;
    return settings;
  }
  WithDevice devices_;
};

std::unique_ptr<Instance> open_on(std::string_view device, const ModelFile& file,
                                  int device_layers) {
  InstanceOptions options = options_for(file.path());
  options.device = device;
  options.device_layers = device_layers;
  return require_ok(Instance::open(both(), options));
}

// Logits behind each of these tokens, one step after the other.
class Reader {
 public:
  explicit Reader(Instance& instance) : instance_(instance), table_(instance.pool()) {}
  std::vector<float> read(TokenId token) {
    REQUIRE(table_.prepare(n_, n_ + 1));
    const StepRow row{.tokens = std::span(&token, 1), .first_position = n_, .table = &table_};
    ++n_;
    const std::span<float> logits = require_ok(instance_.step(std::span(&row, 1)));
    return {logits.begin(), logits.end()};
  }

 private:
  Instance& instance_;
  BlockTable table_;
  int n_ = 0;
};

TEST_CASE("CUDA devices: two models on two devices, in turns on one thread and on others") {
  const TwoDevices two;
  const ModelFile file(widened(tiny_model("llama"), DType::q4_0));
  for (const int device_layers : {kLayersThatFit, 1}) {  // whole, or divided with the CPU
    CAPTURE(device_layers);
    const auto first = open_on("cuda:0", file, device_layers);
    const auto second = open_on("cuda:1", file, device_layers);
    Reader reader(*first), other(*second);
    for (const TokenId token : {3, 5, 8, 13, 21}) {  // recorded from the third on
      const std::vector<float> expected = reader.read(token);
      CHECK(other.read(token) == expected);
    }
    std::vector<float> expected, found;
    expected = reader.read(34);
    std::thread([&] { found = other.read(34); }).join();
    CHECK(found == expected);
  }
}

// Operations that come without a step, as tools call them.
TEST_CASE("CUDA devices: any call of a backend goes to its device") {
  const TwoDevices two;
  const auto open = [](std::string_view device) {
    return require_ok(cuda::registry_entry().open(device, {}));
  };
  const auto first = open("cuda:0"), second = open("cuda:1");
  const std::vector<float> numbers = {1, 2, 3, 4};
  for (Backend* backend : {first.get(), second.get(), first.get()}) {
    const auto memory = require_ok(backend->alloc(16));
    const Tensor t{.buffer = memory.get(), .shape = {1, 1, 1, 4}, .row_bytes = 16};
    REQUIRE(cudaSetDevice(backend == first.get() ? 1 : 0) == cudaSuccess);
    backend->upload(t, std::as_bytes(std::span(numbers)));
    REQUIRE(cudaSetDevice(backend == first.get() ? 1 : 0) == cudaSuccess);
    backend->add(t, t, t);
    REQUIRE(backend->synchronize().ok());
    std::vector<float> doubled(4);
    backend->download(std::as_writable_bytes(std::span(doubled)), t);
    CHECK(doubled == std::vector<float>{2, 4, 6, 8});
  }
}

}  // namespace
}  // namespace lm::test
