// Where a model's parts go, and the bytes that they take: arithmetic, on devices that nobody has.
#include "engine/runtime/model_plan.h"

#include "tests/runtime/support.h"

namespace lm {
namespace {

using test::ModelFile;

constexpr uint64_t kMiB = 1 << 20;

// Of a device that has kernels with such a hunger.
uint64_t scratch_bytes(const StepLimits& limits) {
  return uint64_t(limits.max_tokens) * uint64_t(limits.max_linear_in + limits.max_linear_out);
}

struct Fixture {
  test::TinyModel tiny;
  std::vector<std::byte> bytes;
  gguf::File file;
  ModelConfig config;
  InstanceOptions options;
  uint64_t device_memory = 1024 * kMiB;

  explicit Fixture(test::TinyModel model)
      : tiny(std::move(model)),
        bytes(test::write_tiny_model(tiny).bytes()),
        file(test::require_ok(gguf::File::parse(bytes))),
        config(test::require_ok(read_config(file))) {
    options.n_ctx = 512;
    options.max_step_tokens = 16;
  }

  Result<ModelPlan> plan() const {
    const DeviceOffer devices[] = {{"gpu:0", device_memory, false, scratch_bytes},
                                   {"cpu", 1024 * kMiB, true}};
    return plan_model(file, config, devices, options);
  }
  uint64_t tensor_bytes(std::string_view part) const {
    uint64_t total = 0;
    for (const gguf::TensorInfo& tensor : file.tensors()) {
      if (tensor.name.find(part) != std::string_view::npos) total += tensor.bytes.size();
    }
    return total;
  }
};

test::TinyModel layers(std::string_view architecture, int n) {
  test::TinyModel model = test::tiny_model(architecture);
  model.n_layers = n;
  model.tied = false;
  return model;
}

TEST_CASE("a model that fits is the device's alone") {
  const Fixture f(layers("llama", 4));
  const ModelPlan plan = test::require_ok(f.plan());
  REQUIRE(plan.rooms.size() == 1);
  CHECK(plan.rooms[0].device == "gpu:0");
  CHECK(plan.rooms[0].weight_bytes == f.tensor_bytes(""));
  CHECK(plan.rooms[0].kv_bytes == 512 * 4 * 2 * 2 * 6 * 2);  // tokens, layers, K and V, heads, f16
  CHECK(plan.rooms[0].step_bytes > 0);
  CHECK(plan.rooms[0].scratch_bytes == 16 * (28 + uint64_t(f.config.n_vocab)));
  CHECK(plan.rooms[0].reserved_bytes == 1024 * kMiB / 32);
  CHECK(plan.device_layers == 5);
  CHECK(plan.placement == Placement(4));
  CHECK_FALSE(plan.weights_stay());
}

TEST_CASE("the last layers are the device's, the rooms' bytes are the model's") {
  Fixture f(layers("llama", 4));
  f.options.device_layers = 3;
  const ModelPlan plan = test::require_ok(f.plan());
  REQUIRE(plan.rooms.size() == 2);
  CHECK(plan.placement.text(0) == "layers 1-3");
  CHECK(plan.placement.text(1) == "the embedding, layer 0, the output");
  CHECK(plan.rooms[0].weight_bytes + plan.rooms[1].weight_bytes == f.tensor_bytes(""));
  CHECK(plan.rooms[0].weight_bytes == f.tensor_bytes("blk.") - f.tensor_bytes("blk.0."));
  CHECK(plan.rooms[0].kv_bytes == 3 * plan.rooms[1].kv_bytes);
}

TEST_CASE("a device with too little memory gets as many layers as it has room for") {
  Fixture f(layers("llama", 6));
  f.options.n_ctx = 16 * 1024;
  f.options.device_layers = 1;
  const ModelPlan one = test::require_ok(f.plan());
  f.options.device_layers = 2;
  const ModelPlan two = test::require_ok(f.plan());
  const auto sum = [](const RoomPlan& room) {
    return room.weight_bytes + room.kv_bytes + room.step_bytes + room.scratch_bytes;
  };
  const uint64_t layer = two.rooms[0].weight_bytes - one.rooms[0].weight_bytes +
                         two.rooms[0].kv_bytes - one.rooms[0].kv_bytes;
  f.options.device_layers = kLayersThatFit;
  size_t last = 0;
  for (const int n : {0, 1, 2, 4, 5}) {
    // 1/32 stays free; and half of a layer more, to be sure.
    f.device_memory =
        (n == 0 ? layer / 2 : sum(one.rooms[0]) + uint64_t(n) * layer - layer / 2) * 32 / 31;
    const ModelPlan plan = test::require_ok(f.plan());
    CAPTURE(n);
    CHECK(plan.device_layers == size_t(n));
    CHECK(plan.n_ctx == 16 * 1024);
    CHECK(plan.rooms.front().device == (n == 0 ? "cpu" : "gpu:0"));
    CHECK(plan.device_layers >= last);
    last = plan.device_layers;
  }
  // A device that was named does something, or says why not.
  f.options.device = "gpu:0";
  f.device_memory = layer / 2;
  CHECK(f.plan().error().code == ErrorCode::out_of_memory);
  // What was asked for is not made less.
  f.options.device_layers = 6;
  f.device_memory = sum(one.rooms[0]) * 2;
  const Result<ModelPlan> refused = f.plan();
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code == ErrorCode::out_of_memory);
  CHECK(refused.error().message.starts_with("gpu:0: "));
}

TEST_CASE("all rooms have memory for the same context") {
  Fixture f(layers("llama", 4));
  f.options.n_ctx = 0;
  f.options.device_layers = 2;
  f.device_memory = 2 * kMiB;
  const ModelPlan plan = test::require_ok(f.plan());
  CHECK(plan.n_ctx == 1024);  // as trained
  f.config.n_ctx_train = 1 << 20;
  const ModelPlan longest = test::require_ok(f.plan());
  CHECK(longest.n_ctx > 1024);
  CHECK(longest.n_ctx < 1 << 20);
  CHECK(longest.rooms[0].kv_bytes == longest.rooms[1].kv_bytes);
  CHECK(longest.rooms[0].kv_bytes < kMiB);
  f.options.kv_budget = 200 << 10;  // of both together
  const ModelPlan small = test::require_ok(f.plan());
  CHECK(small.rooms[0].kv_bytes + small.rooms[1].kv_bytes <= f.options.kv_budget);
  CHECK(small.rooms[0].kv_bytes + small.rooms[1].kv_bytes > f.options.kv_budget * 9 / 10);
}

TEST_CASE("rules: the last that fits a part decides for all of it") {
  Fixture f(layers("qwen3moe", 3));
  f.options.place = {{"ffn_.*_exps", "cpu"}, {"blk.1.ffn_up_exps", "gpu"}};
  const ModelPlan plan = test::require_ok(f.plan());
  CHECK(plan.placement.text(1) == "the experts of layers 0, 2");
  CHECK(plan.rooms[1].weight_bytes == f.tensor_bytes("_exps") * 2 / 3);
  CHECK(plan.rooms[1].kv_bytes == 0);
  f.options.device_layers = 0;
  CHECK(test::require_ok(f.plan()).placement.text(0) == "the experts of layer 1");
  f.options.place = {{"ffn_(", "cpu"}};
  CHECK(f.plan().error().code == ErrorCode::bad_request);
  f.options.place = {{"ffn", "tpu"}};
  const Result<ModelPlan> unknown = f.plan();
  REQUIRE_FALSE(unknown.ok());
  CHECK(unknown.error().message == "expected to place \"ffn\" on gpu:0 or cpu, found tpu");
}

TEST_CASE("a tied output is a matrix of its own on a device, and may be elsewhere") {
  test::TinyModel tiny = layers("llama", 2);
  tiny.tied = true;
  Fixture f(tiny);
  const uint64_t table = f.tensor_bytes("token_embd");
  CHECK(test::require_ok(f.plan()).rooms[0].weight_bytes == f.tensor_bytes("") + table);
  f.options.device_layers = 0;
  CHECK(test::require_ok(f.plan()).rooms[0].weight_bytes == f.tensor_bytes(""));
  f.options.device_layers = 9;
  f.options.place = {{"token_embd", "cpu"}};
  const ModelPlan plan = test::require_ok(f.plan());
  CHECK(plan.placement.text(1) == "the embedding");
  CHECK(plan.rooms[0].weight_bytes == f.tensor_bytes(""));
  f.options.place = {{"^output", "cpu"}};
  CHECK(test::require_ok(f.plan()).placement.text(1) == "the output");
}

TEST_CASE("a draft model is counted in the first room, with its own step") {
  Fixture f(layers("llama", 4));
  const ModelPlan alone = test::require_ok(f.plan());
  CHECK_FALSE(alone.has_draft);
  const Fixture draft(test::tiny_model("llama"));
  f.options.beside = test::require_ok(memory_needs(draft.file, draft.config, f.options));
  const ModelPlan both = test::require_ok(f.plan());
  CHECK(both.has_draft);
  const RoomPlan of_draft = test::require_ok(draft.plan()).rooms[0];
  const auto more = [&](uint64_t RoomPlan::*bytes) {
    return both.rooms[0].*bytes - alone.rooms[0].*bytes;
  };
  CHECK(more(&RoomPlan::weight_bytes) == of_draft.weight_bytes);
  CHECK(more(&RoomPlan::kv_bytes) == of_draft.kv_bytes);
  CHECK(more(&RoomPlan::step_bytes) == of_draft.step_bytes);
  CHECK(more(&RoomPlan::scratch_bytes) == of_draft.scratch_bytes);
  f.options.device_layers = 0;
  CHECK(test::require_ok(f.plan()).rooms[0].scratch_bytes == 0);
}

}  // namespace
}  // namespace lm
