#include "engine/tools/bench.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "engine/core/machine.h"
#include "engine/core/text.h"
#include "engine/model/model.h"
#include "engine/tools/bench_steps.h"
#include "engine/tools/devices.h"

namespace lm {
namespace {

constexpr int kMostStepTokens = 512;
constexpr int kWarmUpTokens = 4;  // generated before what counts

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// The metadata alone says what the forward pass is.
Result<ModelConfig> config_of_shape(const SyntheticModel& model) {
  gguf::Writer writer;
  set_metadata(*model.shape, model.recipe, writer);
  const std::vector<std::byte> bytes =
      LM_TRY(writer.to_bytes([](size_t, const gguf::Writer::Sink&) -> Status { return ok(); }));
  return read_config(LM_TRY(gguf::File::parse(bytes)));
}

std::vector<BenchTest> tests_of(const BenchOptions& options) {
  std::vector<BenchTest> tests;
  for (const int depth : options.depths) {
    for (const int n : options.prompts) {
      if (n > 0) tests.push_back({true, n, depth, 1});
    }
    for (const int sequences : options.sequences) {
      for (const int n : options.generations) {
        if (n > 0) tests.push_back({false, n, depth, sequences});
      }
    }
  }
  return tests;
}

double gibibytes(double bytes) {
  return std::round(bytes / (1 << 30) * 100) / 100;
}

BenchResult result_of(const BenchTest& test, std::vector<double> runs, double best) {
  BenchResult result{.test = test, .tokens_per_second = runs, .best = best};
  std::sort(runs.begin(), runs.end());
  const size_t middle = runs.size() / 2;
  result.min = runs.front();
  result.max = runs.back();
  result.median = runs.size() % 2 == 1 ? runs[middle] : (runs[middle - 1] + runs[middle]) / 2;
  result.fraction = best > 0 ? result.median / best : 0;
  return result;
}

// The higher of each limit.
DeviceLimits better(const DeviceLimits& a, const DeviceLimits& b) {
  DeviceLimits best = a;
  best.read_bytes_per_second = std::max(a.read_bytes_per_second, b.read_bytes_per_second);
  best.int8_ops_per_second = std::max(a.int8_ops_per_second, b.int8_ops_per_second);
  best.f16_flops_per_second = std::max(a.f16_flops_per_second, b.f16_flops_per_second);
  best.f32_flops_per_second = std::max(a.f32_flops_per_second, b.f32_flops_per_second);
  return best;
}

// Tokens a second of each repetition.
Result<std::vector<double>> run_test(Instance& instance, const BenchTest& test, int repetitions) {
  BenchSteps steps(instance, test.sequences);
  LM_TRY(steps.reserve(test.depth + test.n_tokens));
  LM_TRY(steps.prompt(0, test.depth));
  const auto run = [&](int n) {
    return test.prompt ? steps.prompt(test.depth, n) : steps.generate(test.depth, n);
  };
  LM_TRY(run(std::min(test.n_tokens, test.prompt ? instance.max_step_tokens() : kWarmUpTokens)));
  std::vector<double> runs;
  for (int i = 0; i < repetitions; ++i) {
    const Clock::time_point begin = Clock::now();
    LM_TRY(run(test.n_tokens));
    runs.push_back(double(test.n_tokens) * test.sequences / std::max(seconds_since(begin), 1e-9));
  }
  return runs;
}

}  // namespace

std::string BenchTest::name() const {
  std::string name = concat(prompt ? "pp" : "tg", n_tokens);
  if (sequences > 1) name += concat("x", sequences);
  if (depth > 0) name += concat("@d", depth);
  return name;
}

double BenchPlan::best(const BenchTest& test, const DeviceLimits& limits) const {
  double seconds = 0;
  if (test.prompt) {
    for (int done = 0; done < test.n_tokens; done += max_step_tokens) {
      const int n = std::min(max_step_tokens, test.n_tokens - done);
      seconds += least_seconds(cost.step(n, 1, test.depth + done), limits);
    }
  } else {
    const double middle = test.depth + (test.n_tokens - 1) / 2.0;
    seconds = test.n_tokens * least_seconds(cost.step(1, test.sequences, middle), limits);
  }
  return seconds > 0 ? double(test.n_tokens) * test.sequences / seconds : 0;
}

Result<BenchPlan> plan_bench(const BenchOptions& options) {
  const auto make = [&](std::string name, std::string type, const ModelConfig& config,
                        std::span<const ShapeTensor> tensors) {
    BenchPlan plan{.model = std::move(name),
                   .type = std::move(type),
                   .cost = ModelCost(tensors, config, options.instance.kv_dtype),
                   .tests = tests_of(options)};
    if (plan.type.empty()) plan.type = dtype_name(plan.cost.main_type());
    plan.n_ctx = options.instance.n_ctx;
    for (const BenchTest& test : plan.tests) {
      plan.n_ctx = std::max(plan.n_ctx, test.depth + test.n_tokens);
      plan.max_seqs = std::max(plan.max_seqs, test.sequences);
    }
    plan.max_step_tokens = std::max(std::clamp(plan.n_ctx, 1, kMostStepTokens), plan.max_seqs);
    InstanceOptions kv = options.instance;
    kv.n_ctx = plan.n_ctx;
    kv.max_seqs = plan.max_seqs;
    kv.max_step_tokens = plan.max_step_tokens;
    const Result<uint64_t> kv_bytes = plan_kv_bytes(config, kv);
    plan.kv_bytes = kv_bytes.ok() ? kv_bytes.value() : 0;  // refused when it is opened
    return plan;
  };
  Result<BenchPlan> plan = [&]() -> Result<BenchPlan> {
    if (options.synthetic) {
      const SyntheticModel& model = *options.synthetic;
      const std::vector<ShapeTensor> tensors = LM_TRY(make_tensors(*model.shape, model.recipe));
      return make(std::string(model.shape->name), std::string(model.recipe),
                  LM_TRY(config_of_shape(model)), tensors);
    }
    const gguf::File file = LM_TRY(gguf::File::open(options.instance.model_path));
    return make(options.instance.model_path.filename().string(), "", LM_TRY(read_config(file)),
                tensors_of(file));
  }();
  if (plan.ok() && plan.value().tests.empty()) {
    return Error{ErrorCode::bad_request, "expected a prompt or a generation test, found neither"};
  }
  return plan;
}

Result<BenchDevice> measure_device(const Registry& registry, const InstanceOptions& options) {
  const std::unique_ptr<Backend> backend = LM_TRY(registry.open(options.device, options.backend));
  BenchDevice device;
  device.name = backend->name();
  Result<DeviceLimits> limits = backend->measure_limits();
  if (limits.ok()) {
    device.limits = limits.value();
  } else if (limits.error().code != ErrorCode::unsupported) {
    return std::move(limits).error();
  }
  device.isa = device.limits.isa;
  device.n_threads = device.limits.n_threads;
  return device;
}

Status check_memory(const BenchOptions& options, const BenchPlan& plan, const BenchDevice& device) {
  // A synthetic file lies in memory, and beside it what a processor repacks.
  const uint64_t file = plan.cost.file_bytes();
  const bool here = device.name == "cpu";
  const uint64_t needed =
      (options.synthetic ? file : 0) + (here ? file + plan.kv_bytes : uint64_t{0});
  const uint64_t available = available_memory();
  if (needed <= available) return ok();
  return Error{ErrorCode::out_of_memory,
               concat("expected ", gibibytes(double(needed)), " GiB of memory for ", plan.model,
                      " in ", plan.type, " (weights ", gibibytes(double(file)), " GiB",
                      options.synthetic && here ? ", twice while they are random" : "",
                      ", KV cache ", gibibytes(double(plan.kv_bytes)), " GiB), found ",
                      gibibytes(double(available)), " GiB available")};
}

Result<BenchReport> run_bench(const Registry& registry, const BenchOptions& options,
                              const BenchPlan& plan, const BenchDevice& device,
                              const std::function<void(const BenchResult&)>& on_result) {
  InstanceOptions wanted = options.instance;
  std::optional<MemoryFile> file;
  if (options.synthetic) {
    file = LM_TRY(generate_synthetic(*options.synthetic));
    wanted.model_path = file->path();
  }
  wanted.n_ctx = plan.n_ctx;
  wanted.max_seqs = plan.max_seqs;
  wanted.max_step_tokens = plan.max_step_tokens;
  wanted.need_tokenizer = false;
  reset_peak_rss();  // of measuring the limits
  const Clock::time_point start = Clock::now();
  const std::unique_ptr<Instance> instance = LM_TRY(Instance::open(registry, wanted));
  BenchReport report;
  report.load_seconds = seconds_since(start);
  report.weight_bytes_per_token = instance->weight_bytes();
  report.weights_in_file = instance->weights_in_file();
  report.limits = device.limits;
  const ModelPlan& placed = instance->plan();
  for (size_t i = 0; i < placed.rooms.size(); ++i) {
    report.rooms.push_back({placed.rooms[i].device, placed.placement.text(int(i))});
  }

  DeviceLimits before = device.limits;
  for (const BenchTest& test : plan.tests) {
    std::vector<double> runs = LM_TRY(run_test(*instance, test, options.repetitions));
    report.peak_rss = std::max(report.peak_rss, peak_rss());
    // What other guests of the machine leave changes by the minute: a limit is measured on both
    // sides of a test.
    DeviceLimits after = before;
    if (before.read_bytes_per_second > 0) {
      after = LM_TRY(instance->backend().measure_limits());
      reset_peak_rss();
    }
    report.limits = better(report.limits, after);
    const double best = plan.best(test, better(before, after));
    report.results.push_back(result_of(test, std::move(runs), best));
    if (on_result) on_result(report.results.back());
    before = after;
  }
  return report;
}

Json bench_json(const BenchPlan& plan, const BenchDevice& device, const BenchReport& report) {
  const auto known = [](double value) { return value > 0 ? Json(value) : Json(nullptr); };
  const DeviceLimits& limits = report.results.empty() ? device.limits : report.limits;
  Json results = Json::array();
  for (const BenchResult& result : report.results) {
    results.push_back({{"test", result.test.name()},
                       {"depth", result.test.depth},
                       {"sequences", result.test.sequences},
                       {"tokens_per_second",
                        {{"median", result.median},
                         {"min", result.min},
                         {"max", result.max},
                         {"runs", result.tokens_per_second}}},
                       {"at_best", known(result.best)},
                       {"fraction_of_limit", known(result.fraction)}});
  }
  Json rooms = Json::array();
  for (const BenchRoom& room : report.rooms) {
    rooms.push_back({{"device", room.device}, {"parts", room.parts}});
  }
  return {{"model", plan.model},
          {"type", plan.type},
          {"weight_bytes_per_token", report.weight_bytes_per_token},
          {"threads", device.n_threads},
          {"device", device.name},
          {"isa", device.isa},
          {"limits", limits_json(limits)},
          {"results", results},
          {"load_seconds", report.load_seconds},
          {"peak_rss_bytes", report.peak_rss},
          {"rooms", rooms}};
}

}  // namespace lm
