// The plan of a device's memory against what is allocated there, byte for byte. Only the emulation
// counts them so.
#include <cuda_runtime.h>

#include <algorithm>
#include <vector>

#include "tests/cuda/both.h"
#include "tests/runtime/support.h"
#include "tests/simt/simt.h"

namespace lm::test {
namespace {

InstanceOptions on_cuda(const std::filesystem::path& path) {
  InstanceOptions options = options_for(path);
  options.device = "cuda";
  options.kv_dtype = DType::f16;
  options.max_seqs = 3;
  options.draft_rows = 5;
  return options;
}

uint64_t allocated() {
  size_t free = 0, total = 0;
  REQUIRE(cudaMemGetInfo(&free, &total) == cudaSuccess);
  return total - free;
}

uint64_t planned(const RoomPlan& room) {
  return room.weight_bytes + room.kv_bytes + room.step_bytes + room.scratch_bytes;
}

// Tables of frequencies are made, not found in the file: too small to be planned.
uint64_t table_bytes(const Instance& instance) {
  std::vector<RopeSpec> seen;
  uint64_t bytes = 0;
  for (size_t i = 0; i < instance.config().layers.size(); ++i) {
    const RopeSpec& rope = instance.config().layers[i].attn.rope;
    if (instance.plan().placement.attention(i) != 0) continue;
    if (std::find(seen.begin(), seen.end(), rope) != seen.end()) continue;
    seen.push_back(rope);
    bytes += uint64_t(rope.dims / 2) * sizeof(float);
  }
  return bytes;
}

TEST_CASE("CUDA memory: as planned, of a dense, a MoE and a windowed model, whole or divided") {
  for (const std::string_view name : {"llama", "qwen3moe", "gemma3"}) {
    const ModelFile file(tiny_model(name));
    for (const int device_layers : {kLayersThatFit, 1}) {
      for (const std::string_view rule : {"", "_exps", "attn", "^output"}) {
        CAPTURE(std::string(name));
        CAPTURE(device_layers);
        CAPTURE(std::string(rule));
        InstanceOptions options = on_cuda(file.path());
        options.device_layers = device_layers;
        if (!rule.empty()) options.place = {{std::string(rule), "cpu"}};
        const auto instance = require_ok(Instance::open(both(), options));
        const RoomPlan& room = instance->plan().rooms.front();
        REQUIRE(room.device == "cuda:0");
        CHECK(room.scratch_bytes > 0);
        CHECK(allocated() == planned(room) + table_bytes(*instance));
      }
    }
  }
  CHECK(allocated() == 0);
}

TEST_CASE("CUDA memory: as planned with a draft model") {
  TinyModel small = tiny_model("llama");
  small.n_layers = 1;
  small.tied = true;
  const ModelFile file(tiny_model("llama")), draft_file(small);
  InstanceOptions options = on_cuda(file.path()), drafting = on_cuda(draft_file.path());
  drafting.draft_rows = 0;
  options.beside = require_ok(Instance::needs(drafting));
  const auto instance = require_ok(Instance::open(both(), options));
  drafting.kv_budget = options.beside.block_bytes * uint64_t(instance->pool().n_blocks());
  const auto draft = require_ok(Instance::open(both(), drafting));
  CHECK(allocated() ==
        planned(instance->plan().rooms.front()) + table_bytes(*instance) + table_bytes(*draft));
}

TEST_CASE("CUDA memory: a model opens on a device of any size, with as many layers as fit") {
  constexpr uint64_t kMiB = 1 << 20;
  TinyModel tiny = tiny_model("llama");
  tiny.n_layers = 6;
  const ModelFile file(tiny);
  InstanceOptions options = on_cuda(file.path());
  options.max_seqs = 1;
  options.n_ctx = 1 << 19;  // a layer's cache takes 24 MiB
  const simt::DeviceSettings before = simt::device_settings();
  size_t last = 0;
  for (const uint64_t mib : {72, 96, 120, 144, 176}) {
    CAPTURE(mib);
    simt::DeviceSettings settings = before;
    settings.memory_bytes = mib * kMiB;
    simt::set_device(settings);
    const auto instance = require_ok(Instance::open(both(), options));
    CHECK(allocated() + mib * kMiB / 32 <= mib * kMiB);
    CHECK(instance->plan().device_layers > last);
    last = instance->plan().device_layers;
  }
  CHECK(last == 7);
  simt::set_device(before);
}

}  // namespace
}  // namespace lm::test
