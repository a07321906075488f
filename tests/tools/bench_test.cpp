// Shapes, recipes, random weights and the limits they are measured against.
#include "engine/tools/bench.h"

#include <cmath>
#include <map>

#include "backends/cpu/cpu_backend.h"
#include "engine/core/file.h"
#include "engine/tools/bench_steps.h"
#include "engine/tools/recipes.h"
#include "quant/decode.h"
#include "tests/runtime/twin.h"
#include "tests/support/late_backend.h"
#include "tests/support/support.h"

using namespace lm;
using namespace lm::test;

namespace {

Lateness lateness;  // for BackendEntry::open, a plain function

// The same kind of model, small enough to run in a test.
ModelShape shrunk(ModelShape shape) {
  shape.n_layers = 2;
  shape.d_model = 256;
  shape.n_heads = 4;
  shape.n_kv_heads = 2;
  shape.head_dim = 64;
  shape.d_ff = 512;
  shape.n_vocab = 300;
  if (shape.n_experts > 0) {
    shape.n_experts = 4;
    shape.top_k = 2;
    shape.d_ff_expert = 256;
  }
  return shape;
}

std::map<DType, int> types_of(std::string_view shape, std::string_view recipe) {
  std::map<DType, int> counts;
  for (const ShapeTensor& tensor : require_ok(make_tensors(*require_ok(find_shape(shape)), recipe)))
    ++counts[tensor.dtype];
  return counts;
}

void check_runs(const ModelShape& shape, std::string_view recipe) {
  CAPTURE(shape.name);
  CAPTURE(recipe);
  const MemoryFile file = require_ok(generate_synthetic({&shape, recipe, 7}));
  InstanceOptions options;
  options.model_path = file.path();
  options.n_ctx = 8;
  options.backend.n_threads = 1;
  const std::unique_ptr<Instance> instance = require_ok(Instance::open(cpu_registry(), options));
  REQUIRE(instance->tokenizer() != nullptr);
  CHECK(instance->tokenizer()->size() == shape.n_vocab);
  BlockTable table(instance->pool());
  REQUIRE(table.prepare(0, 3));
  const TokenId tokens[] = {1, 7, 255};
  const StepRow row{.tokens = tokens, .table = &table};
  const std::span<float> logits = require_ok(instance->step({&row, 1}));
  REQUIRE(logits.size() == size_t(shape.n_vocab));
  double largest = 0;
  for (const float logit : logits) {
    REQUIRE(std::isfinite(logit));
    largest = std::max(largest, std::abs(double(logit)));
  }
  CHECK(largest > 0.01);
  CHECK(largest < 1000);
}

}  // namespace

TEST_CASE("shapes have as many parameters as the models they are named after") {
  // From the model cards (safetensors: "total parameters").
  const std::map<std::string_view, int64_t> published = {
      {"llama3.2-1b", 1'235'814'400}, {"llama3.2-3b", 3'212'749'824},
      {"llama3-8b", 8'030'261'248},   {"tinyllama-1.1b", 1'100'048'384},
      {"smollm2-135m", 134'515'008},  {"smollm2-360m", 361'821'120},
      {"mistral-7b", 7'248'023'552},  {"qwen2.5-0.5b", 494'032'768},
      {"qwen2.5-7b", 7'615'616'512},  {"qwen3-0.6b", 596'049'920},
      {"qwen3-1.7b", 1'720'574'976},  {"qwen3-4b", 4'022'468'096},
      {"qwen3-8b", 8'190'735'360},    {"qwen3-30b-a3b", 30'532'122'624},
      {"gemma3-1b", 999'885'952},     {"gpt-oss-20b", 20'914'757'184}};
  for (const ModelShape& shape : known_shapes()) {
    if (shape.name.starts_with("tiny") && shape.name != "tinyllama-1.1b") continue;
    CAPTURE(shape.name);
    int64_t total = 0;
    for (const ShapeTensor& tensor : require_ok(make_tensors(shape, "f16"))) {
      int64_t n = tensor.name == "rope_freqs.weight" ? 0 : 1;  // computed, not learned
      for (const int64_t dim : tensor.dims) n *= dim;
      total += n;
    }
    REQUIRE(published.contains(shape.name));
    CHECK(total == published.at(shape.name));
  }
}

TEST_CASE("recipes give the types that published files have") {
  // As upstream lists them when it loads the common conversions of these models.
  using Counts = std::map<DType, int>;
  CHECK(types_of("llama3.2-1b", "q4_K_M") ==
        Counts{{DType::f32, 34}, {DType::q4_K, 96}, {DType::q6_K, 17}});
  CHECK(types_of("llama3-8b", "Q4_K_M") ==
        Counts{{DType::f32, 65}, {DType::q4_K, 193}, {DType::q6_K, 33}});
  CHECK(types_of("llama3-8b", "q4_0") ==
        Counts{{DType::f32, 65}, {DType::q4_0, 225}, {DType::q6_K, 1}});
  CHECK(types_of("llama3-8b", "q8_0") == Counts{{DType::f32, 65}, {DType::q8_0, 226}});
  CHECK(types_of("llama3-8b", "f16") == Counts{{DType::f32, 65}, {DType::f16, 226}});
}

TEST_CASE("rows that blocks of 256 do not divide get smaller blocks") {
  for (const ShapeTensor& tensor :
       require_ok(make_tensors(*require_ok(find_shape("smollm2-135m")), "q4_K_M"))) {
    CAPTURE(tensor.name);
    CHECK(tensor.dims[0] % dtype_info(tensor.dtype).block_elems == 0);
    if (tensor.name == "blk.0.attn_q.weight") CHECK(tensor.dtype == DType::q5_0);
    if (tensor.name == "token_embd.weight") CHECK(tensor.dtype == DType::q8_0);
  }
}

TEST_CASE("unknown shapes and types are refused by name") {
  CHECK(find_shape("llama").error().code == ErrorCode::bad_request);
  CHECK(find_shape("llama").error().message.find("qwen3-8b") != std::string::npos);
  for (const char* name : {"", "q9_0", "i32", "q8_K", "q4_K_XL"}) {
    CHECK(find_recipe(name).error().code == ErrorCode::bad_request);
  }
  for (const std::string_view name : known_recipes()) CHECK(find_recipe(name).ok());
}

TEST_CASE("random blocks decode to numbers of the wanted size") {
  for (int i = 0; i < kDTypeCount; ++i) {
    const DType type = DType(i);
    if (!find_recipe(dtype_name(type)).ok()) continue;
    CAPTURE(dtype_name(type));
    constexpr size_t kBlocks = 64;
    const std::vector<std::byte> blocks = random_blocks(type, kBlocks, 0.02, 5);
    REQUIRE(blocks.size() == kBlocks * size_t(dtype_info(type).block_bytes));
    std::vector<float> values(kBlocks * size_t(dtype_info(type).block_elems));
    decode(type, blocks.data(), values.data(), int64_t(values.size()));
    double squares = 0;
    for (const float value : values) {
      REQUIRE(std::isfinite(value));
      squares += double(value) * value;
    }
    const double rms = std::sqrt(squares / double(values.size()));
    // Scales are powers of two in mxfp4; 64 plain numbers are a small sample.
    CHECK(rms > 0.009);
    CHECK(rms < 0.03);
  }
}

TEST_CASE("the same seed makes the same file, in memory and on disk") {
  const TempDir folder;
  const SyntheticModel model = {require_ok(find_shape("tiny")), "q4_K_M", 3};
  const auto bytes_in = [](const std::filesystem::path& path) {
    return require_ok(read_file(path, 64 << 20));
  };
  REQUIRE(save_synthetic(model, folder.path() / "a.gguf").ok());
  const MemoryFile memory = require_ok(generate_synthetic(model));
  CHECK(bytes_in(folder.path() / "a.gguf") == bytes_in(memory.path()));
  const MemoryFile other = require_ok(generate_synthetic({model.shape, model.recipe, 4}));
  CHECK(bytes_in(other.path()) != bytes_in(memory.path()));
}

TEST_CASE("every recipe runs") {
  for (const std::string_view recipe : known_recipes()) {
    check_runs(*require_ok(find_shape("tiny")), recipe);
  }
}

TEST_CASE("every shape runs, made small") {
  for (const ModelShape& shape : known_shapes()) {
    const bool moe = shape.n_experts > 0;
    check_runs(shrunk(shape), moe ? "mxfp4_moe" : "q4_0");
  }
}

TEST_CASE("what a step costs, counted by hand") {
  const ModelShape& shape = *require_ok(find_shape("tiny"));
  BenchOptions options;
  options.synthetic = SyntheticModel{&shape, "f16"};
  const BenchPlan plan = require_ok(plan_bench(options));
  // Two layers of q, o (256²), k, v (128 · 256), gate, up, down (512 · 256); and the output, 512 ·
  // 256.
  const double layer = 2 * 256 * 256 + 2 * 128 * 256 + 3 * 512 * 256, output = 512 * 256;
  const double kv = 2 * 2 * (2 * 64 * 2);  // layers; K, V; 2 heads of 64 halves: bytes of a token
  CHECK(plan.cost.bytes_per_token() == uint64_t(2 * (2 * layer + output)));
  CHECK(plan.cost.kv_bytes_per_token() == uint64_t(kv));
  const StepCost step = plan.cost.step(10, 1, 90);
  CHECK(step.bytes == doctest::Approx(2 * (2 * layer + output) + 100 * kv));
  CHECK(step.f32_flops == doctest::Approx(2 * (2 * layer * 10 + output)));
  CHECK(step.int8_ops == 0);
  CHECK(plan.cost.step(1, 4, 99).bytes == doctest::Approx(2 * (2 * layer + output) + 400 * kv));

  DeviceLimits limits;
  limits.read_bytes_per_second = 1e9;
  limits.f32_flops_per_second = 1e12;
  CHECK(least_seconds(step, limits) == doctest::Approx(step.bytes / 1e9));
  limits.f32_flops_per_second = 1e6;
  CHECK(least_seconds(step, limits) == doctest::Approx(step.f32_flops / 1e6));
}

TEST_CASE("a token of a mixture of experts reads its share") {
  const ModelShape& shape = *require_ok(find_shape("tiny-moe"));
  BenchOptions options;
  options.synthetic = SyntheticModel{&shape, "f16"};
  const ModelCost cost = require_ok(plan_bench(options)).cost;
  const double expert = 3 * 256 * 256 * 2, shared = 2 * 256 * 256 + 2 * 128 * 256;
  const double router = 8 * 256 * 4, output = 512 * 256 * 2;
  CHECK(cost.bytes_per_token() == uint64_t(2 * (2 * expert + shared * 2 + router) + output));
  // Many tokens reach every expert.
  CHECK(cost.step(512, 1, 0).bytes > 2 * 8 * expert);
}

TEST_CASE("a windowed layer reads no further back than its window") {
  BenchOptions options;
  options.synthetic = SyntheticModel{require_ok(find_shape("gemma3-1b")), "q4_0"};
  const ModelCost cost = require_ok(plan_bench(options)).cost;
  const double kv = 2 * 1 * 256 * 2;  // of a layer
  const double deeper = cost.step(1, 1, 9999).bytes - cost.step(1, 1, 4999).bytes;
  CHECK(deeper == doctest::Approx(4 * kv * 5000));  // 4 of 26 layers see everything
}

TEST_CASE("a run: every test has its repetitions and its limit") {
  BenchOptions options;
  options.synthetic = SyntheticModel{require_ok(find_shape("tiny")), "q4_0"};
  options.instance.backend.n_threads = 1;
  options.prompts = {20};
  options.generations = {3};
  options.depths = {0, 33};
  options.sequences = {1, 2};
  options.repetitions = 2;
  const BenchPlan plan = require_ok(plan_bench(options));
  BenchDevice device;
  device.name = "cpu";
  device.limits.read_bytes_per_second = 1e9;
  device.limits.int8_ops_per_second = device.limits.f32_flops_per_second = 1e11;
  REQUIRE(check_memory(options, plan, device).ok());
  int heard = 0;
  const BenchReport report = require_ok(
      run_bench(cpu_registry(), options, plan, device, [&](const BenchResult&) { ++heard; }));
  const char* names[] = {"pp20", "tg3", "tg3x2", "pp20@d33", "tg3@d33", "tg3x2@d33"};
  REQUIRE(report.results.size() == std::size(names));
  CHECK(heard == int(report.results.size()));
  for (size_t i = 0; i < report.results.size(); ++i) {
    const BenchResult& result = report.results[i];
    CHECK(result.test.name() == names[i]);
    CHECK(result.tokens_per_second.size() == 2);
    CHECK(result.min > 0);
    CHECK(result.min <= result.median);
    CHECK(result.median <= result.max);
    CHECK(result.fraction == doctest::Approx(result.median / result.best));
    CHECK(result.best > 0);  // by limits measured around the test: a time, not to be compared
  }
  CHECK(report.weight_bytes_per_token == plan.cost.bytes_per_token());
  CHECK(report.peak_rss > 0);
}

TEST_CASE("what can't fit is refused before anything is allocated") {
  BenchOptions options;
  options.synthetic = SyntheticModel{require_ok(find_shape("llama3-8b")), "f32"};
  options.depths = {1 << 20};
  options.sequences = {256};
  const BenchPlan plan = require_ok(plan_bench(options));
  BenchDevice device;
  device.name = "cpu";
  const Status status = check_memory(options, plan, device);
  REQUIRE_FALSE(status.ok());
  CHECK(status.error().code == ErrorCode::out_of_memory);
  CHECK(status.error().message.find("GiB") != std::string::npos);
}

TEST_CASE("every instruction set measures its limits") {
  for (const char* isa : {"scalar", ""}) {
    InstanceOptions options;
    options.backend.isa = isa;
    options.backend.n_threads = 2;
    const BenchDevice device = require_ok(measure_device(cpu_registry(), options));
    CHECK(device.name == "cpu");
    CHECK(device.n_threads == 2);
    CHECK(!device.isa.empty());
    CHECK(device.limits.read_bytes_per_second > 1e6);
    CHECK(device.limits.int8_ops_per_second > 1e6);
    CHECK(device.limits.f32_flops_per_second > 1e6);
  }
}

TEST_CASE("bench: a divided model names every device that computed, and what") {
  const ModelFile file(tiny_model("llama"));
  BenchOptions options;
  options.instance = options_for(file.path());
  options.instance.device = "twin";
  options.instance.device_layers = 1;
  options.prompts = {4};
  options.generations = {2};
  options.repetitions = 1;
  const BenchPlan plan = require_ok(plan_bench(options));
  BenchDevice device;
  device.name = "twin:0";
  const BenchReport report = require_ok(run_bench(twin_registry(), options, plan, device, {}));
  REQUIRE(report.rooms.size() == 2);
  const Json rooms = bench_json(plan, device, report)["rooms"];
  CHECK(rooms[0] == Json{{"device", "twin:0"}, {"parts", "layer 1"}});
  CHECK(rooms[1] == Json{{"device", "cpu"}, {"parts", "the embedding, layer 0, the output"}});
}

TEST_CASE("bench: where a device computes beside the host, each step is launched before the last") {
  const ModelFile file(tiny_model("llama"));
  for (const bool ahead : {true, false}) {
    lateness = {};
    InstanceOptions options = options_for(file.path());
    options.n_ctx = 32;
    options.max_seqs = 2;
    options.backend.run_ahead = ahead;
    const auto instance = require_ok(Instance::open(late_registry<lateness>(), options));
    BenchSteps steps(*instance, 2);
    REQUIRE(steps.reserve(32).ok());
    REQUIRE(steps.generate(0, 8).ok());
    CHECK(lateness.n_steps == 8);
    CHECK(lateness.n_guesses == (ahead ? 2 * 7 : 0));
    CHECK(lateness.n_downloads == 0);
  }
}
