// engine/tools/bench.h — how fast a model runs here, beside how fast it could: prompt and
// generation speed at several lengths, depths and numbers of sequences, each as a fraction of the
// limit that the machine's memory and arithmetic set.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "backends/registry.h"
#include "engine/core/json.h"
#include "engine/core/result.h"
#include "engine/runtime/instance.h"
#include "engine/tools/step_cost.h"
#include "engine/tools/synthetic.h"

namespace lm {

struct BenchOptions {
  InstanceOptions
      instance;  // model_path, device, threads, KV type; n_ctx: at least; other sizes are set here
  std::optional<SyntheticModel> synthetic{};  // instead of model_path
  std::vector<int> prompts{512};              // tokens of each prompt test; 0: none
  std::vector<int> generations{128};          // tokens of each generation test; 0: none
  std::vector<int> depths{0};                 // tokens in the cache when a test begins
  std::vector<int> sequences{1};              // at once, of generation tests
  int repetitions = 5;
};

struct BenchTest {
  bool prompt;  // n_tokens in as few steps as possible; otherwise one by one
  int n_tokens, depth, sequences;
  std::string name() const;  // "pp512", "tg128@d4096", "tg128x4"
};

// What a run will do and what it needs, known before anything is loaded.
struct BenchPlan {
  std::string model, type;
  ModelCost cost;
  std::vector<BenchTest> tests;
  int n_ctx = 0, max_seqs = 1, max_step_tokens = 512;
  uint64_t kv_bytes = 0;

  // Tokens a second at the limits; 0 when those are not known.
  double best(const BenchTest& test, const DeviceLimits& limits) const;
};
Result<BenchPlan> plan_bench(const BenchOptions& options);

// The device and what it can do; limits of 0 where it can't tell.
struct BenchDevice {
  std::string name, isa;
  int n_threads = 0;
  DeviceLimits limits;
};
Result<BenchDevice> measure_device(const Registry& registry, const InstanceOptions& options);

// out_of_memory, with the numbers, when the run can't fit what is available.
Status check_memory(const BenchOptions& options, const BenchPlan& plan, const BenchDevice& device);

struct BenchResult {
  BenchTest test;
  std::vector<double> tokens_per_second;  // one a repetition
  double median = 0, min = 0, max = 0;
  double best = 0;      // what the limits around the test allow; 0: not known
  double fraction = 0;  // of that, of the median
};

// What a device computed of the model.
struct BenchRoom {
  std::string device, parts;  // "cuda:0", "layers 8-15, the output"
};

struct BenchReport {
  DeviceLimits limits;  // the best of what was measured before, between and after the tests
  uint64_t weight_bytes_per_token = 0;
  std::vector<BenchResult> results;
  double load_seconds = 0;  // from opening the file to the first step
  uint64_t peak_rss = 0;
  std::vector<BenchRoom> rooms;
  bool weights_in_file = false;  // memory does not hold them: they are read from the file
};

// `on_result` hears of each result as it comes.
Result<BenchReport> run_bench(const Registry& registry, const BenchOptions& options,
                              const BenchPlan& plan, const BenchDevice& device,
                              const std::function<void(const BenchResult&)>& on_result);

Json bench_json(const BenchPlan& plan, const BenchDevice& device, const BenchReport& report);

}  // namespace lm
