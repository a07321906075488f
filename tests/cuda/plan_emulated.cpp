// The plan of a device's memory against what is allocated there, byte for byte. Only the emulation
// counts them so.
#include <cuda_runtime.h>

#include <utility>
#include <vector>

#include "tests/cpu/harness.h"
#include "tests/cuda/both.h"
#include "tests/cuda/with_device.h"
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

// What a room got, and nothing else.
void check_plan(const Instance& instance) {
  const RoomPlan& room = instance.plan().rooms.front();
  REQUIRE(room.device == "cuda:0");
  CHECK(room.scratch_bytes > 0);
  CHECK(allocated() == planned(room));
}

TEST_CASE("CUDA memory: as planned, of a weight of any type, shape and use") {
  const BackendEntry entry = cuda::registry_entry();
  const auto backend = require_ok(entry.open("cuda:0", {}));
  Random random(7);
  int n_larger = 0;
  for (int t = 0; t < kDTypeCount; ++t) {
    const DType type = DType(t);
    const int64_t block = dtype_info(type).block_elems;
    for (const int64_t cols : {block, 3 * block, 1024 / block * block, 896 / block * block}) {
      for (const auto& [n, rows] : {std::pair<int64_t, int64_t>{1, 1}, {1, 16}, {3, 17}, {2, 96}}) {
        const TestWeight host = random_weight(type, {1, n, rows, cols}, random);
        for (const WeightUse use : {WeightUse::rows, WeightUse::matrix, WeightUse::vector}) {
          CAPTURE(dtype_name(type));
          CAPTURE(cols);
          CAPTURE(rows);
          CAPTURE(int(use));
          const LoadedWeight loaded = require_ok(backend->load_weight(host.host(), use));
          require_ok(backend->alloc(0));  // the way to the device is given back
          const uint64_t bytes = entry.weight_bytes({type, host.shape, use});
          CHECK(allocated() == bytes);
          n_larger += bytes > host.bytes.size() ? 1 : 0;
        }
      }
    }
  }
  CHECK(n_larger > 100);
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
        check_plan(*instance);
      }
    }
  }
  CHECK(allocated() == 0);
}

// Rows that are no whole number of records, in matrices that are no whole number of tiles.
TinyModel odd(std::string_view architecture, DType type) {
  TinyModel model = tiny_model(architecture);
  model.dtype = type;
  model.d_model = 192;
  model.n_heads = 4;
  model.n_kv_heads = 2;
  model.head_dim = 48;
  model.d_ff = 320;
  model.rope_dims = 0;
  return model;
}

TEST_CASE("CUDA memory: as planned, of quantized models of odd shapes, whole or divided") {
  std::vector<TinyModel> models = {odd("qwen2", DType::q5_0),    odd("llama", DType::i4g64),
                                   odd("phi3", DType::q8_0),     odd("gemma3", DType::f16),
                                   odd("gpt-oss", DType::mxfp4), odd("qwen3moe", DType::q4_1),
                                   odd("qwen3moe", DType::q8_0)};
  models.back().experts_apart = true;
  for (const DType type : {DType::q3_K, DType::iq4_XS, DType::q6_K}) {
    models.push_back(widened(tiny_model("llama"), type));
  }
  for (const TinyModel& model : models) {
    for (const bool tied : {false, true}) {
      TinyModel tiny = model;
      tiny.tied = tied;
      const ModelFile file(tiny);
      for (const std::string_view rule : {"", "_exps", "attn", "ffn", "token_embd", "^output"}) {
        CAPTURE(model.architecture);
        CAPTURE(dtype_name(model.dtype));
        CAPTURE(tied);
        CAPTURE(std::string(rule));
        InstanceOptions options = on_cuda(file.path());
        options.device_layers = rule == "attn" ? 1 : kLayersThatFit;
        if (!rule.empty()) options.place = {{std::string(rule), "cpu"}};
        check_plan(*require_ok(Instance::open(both(), options)));
      }
    }
  }
}

TEST_CASE("CUDA memory: as planned with a draft model") {
  TinyModel small = tiny_model("llama");
  small.n_layers = 1;
  small.tied = true;
  small.dtype = DType::q8_0;
  small.d_model = small.d_ff = 96;
  small.head_dim = 24;
  const ModelFile file(tiny_model("llama")), draft_file(small);
  InstanceOptions options = on_cuda(file.path()), drafting = on_cuda(draft_file.path());
  drafting.draft_rows = 0;
  options.beside = require_ok(Instance::needs(drafting));
  const auto instance = require_ok(Instance::open(both(), options));
  drafting.kv_budget = options.beside.block_bytes * uint64_t(instance->pool().n_blocks());
  const auto draft = require_ok(Instance::open(both(), drafting));
  check_plan(*instance);
}

TEST_CASE("CUDA memory: a model opens on a device of any size, with as many layers as fit") {
  constexpr uint64_t kMiB = 1 << 20;
  TinyModel tiny = tiny_model("llama");
  tiny.n_layers = 6;
  const ModelFile file(tiny);
  InstanceOptions options = on_cuda(file.path());
  options.max_seqs = 1;
  options.n_ctx = 1 << 19;  // a layer's cache takes 24 MiB
  size_t last = 0;
  for (const uint64_t mib : {72, 96, 120, 144, 176}) {
    CAPTURE(mib);
    simt::DeviceSettings settings = simt::device_settings();
    settings.memory_bytes = mib * kMiB;
    const WithDevice device(settings);
    const auto instance = require_ok(Instance::open(both(), options));
    CHECK(allocated() + mib * kMiB / 32 <= mib * kMiB);
    CHECK(instance->plan().device_layers > last);
    last = instance->plan().device_layers;
  }
  CHECK(last == 7);
}

}  // namespace
}  // namespace lm::test
