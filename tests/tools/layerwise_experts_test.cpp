// GPTQ and AWQ on experts: each by the inputs that reached it, the same bytes however many of them
// are watched at a time, and what happens to those that no token of the text reached.
#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <span>
#include <utility>

#include "backends/observe.h"
#include "engine/core/text.h"
#include "engine/core/thread_pool.h"
#include "engine/model/layer_runner.h"
#include "engine/model/model.h"
#include "engine/tools/calibration.h"
#include "engine/tools/layerwise_cost.h"
#include "gguf/file.h"
#include "quant/encode.h"
#include "quant/error_feedback.h"
#include "quant/hessian.h"
#include "tests/tools/layerwise_rig.h"

namespace lm::test {
namespace {

constexpr int kCols = 64;  // of all matrices: two blocks of 32

TinyModel expert_model(std::string_view name, int n_experts, int top_k) {
  for (TinyModel& model : tiny_models()) {
    if (model.name != name) continue;
    model.n_layers = 2;
    model.d_model = kCols;
    model.d_ff = kCols;
    model.head_dim = 16;
    model.n_experts = n_experts;
    model.top_k = top_k;
    return model;
  }
  FAIL("no tiny model ", std::string(name));
  return {};
}

// What enters the router and the experts of layer 0, from the original weights.
class FirstLayer final : public ActivationObserver {
 public:
  FirstLayer(const LayerwiseRig& rig, const LayerwiseOptions& options) : threads_(2) {
    const gguf::File file = require_ok(gguf::File::open(rig.in));
    const Calibration text =
        require_ok(make_calibration(file, options.text, options.n_ctx, options.max_sequences));
    const auto backend =
        lm::observe(require_ok(rig.registry.open("cpu", {.n_threads = 2, .isa = {}})), *this);
    LayerRunner runner = require_ok(LayerRunner::open(file, *backend, text.n_ctx));
    require_ok(runner.load(0, file));
    std::vector<float> x(size_t(text.n_ctx) * size_t(runner.config().d_model));
    for (const std::vector<TokenId>& sequence : text.sequences) {
      require_ok(runner.embed(sequence, x));
      require_ok(runner.run(x));
    }
  }

  bool wants(std::string_view tensor) override {
    return tensor.find(".ffn_") != std::string_view::npos;
  }
  void observe(const MatrixInput& input) override {
    std::string stem(input.tensor.substr(0, input.tensor.find('.', 7)));  // behind "blk.0."
    if (stem.ends_with("_exps")) stem.resize(stem.size() - 5);
    std::vector<float>& all = rows_[{stem, input.expert}];
    all.insert(all.end(), input.rows.begin(), input.rows.end());
  }

  std::span<const float> rows(const std::string& stem, int expert) const {
    const auto found = rows_.find({stem, expert});
    return found == rows_.end() ? std::span<const float>() : std::span(found->second);
  }
  int64_t n_rows(int expert) const {
    return int64_t(rows("blk.0.ffn_gate", expert).size()) / kCols;
  }
  // tr(E H E^T) of an error of the expert's matrix.
  double error(const std::string& stem, int expert, std::span<const float> e) {
    const std::span<const float> x = rows(stem, expert);
    Hessian hessian = require_ok(Hessian::create(kCols));
    hessian.add(x, int64_t(x.size()) / kCols, threads_);
    require_ok(hessian.finish());
    return output_error(hessian, e, int64_t(e.size()) / kCols, threads_);
  }

 private:
  ThreadPool threads_;
  std::map<std::pair<std::string, int>, std::vector<float>> rows_;
};

// One expert's matrix, [64, 64].
std::vector<float> expert_matrix(const gguf::File& file, const std::string& stem, int expert) {
  const gguf::TensorInfo* together = file.tensor(stem + "_exps.weight");
  if (together == nullptr) {
    const gguf::TensorInfo* apart = file.tensor(concat(stem, '.', expert, ".weight"));
    REQUIRE(apart != nullptr);
    return numbers_of(*apart);
  }
  const std::vector<float> all = numbers_of(*together);
  const auto first = all.begin() + std::ptrdiff_t(expert) * kCols * kCols;
  return {first, first + kCols * kCols};
}

std::vector<float> difference(std::vector<float> a, const std::vector<float>& b) {
  for (size_t i = 0; i < a.size(); ++i) a[i] -= b[i];
  return a;
}

std::filesystem::path quantized(const LayerwiseRig& rig, const char* name,
                                const LayerwiseOptions* method, const std::string& type) {
  if (method != nullptr) {
    require_ok(rig.run(*method, type));
  } else {
    require_ok(quantize(
        {.in = rig.in, .out = rig.out, .recipe = type, .keep_head = true, .n_threads = 2}));
  }
  const std::filesystem::path path = rig.temp.path() / name;
  std::filesystem::rename(rig.out, path);
  return path;
}

struct Trial {
  LayerwiseRig rig;
  LayerwiseOptions gptq = rig.method(LayerMethod::gptq), awq = rig.method(LayerMethod::awq);

  Trial(const TinyModel& model, int n_sequences) : rig(model) {
    rig.text = some_text(600);
    for (LayerwiseOptions* options : {&gptq, &awq}) {
      options->text = rig.text;
      options->max_sequences = n_sequences;
    }
  }
  gguf::File open(const char* name, const LayerwiseOptions* method, const std::string& type) const {
    return require_ok(gguf::File::open(quantized(rig, name, method, type)));
  }
};

TEST_CASE("layerwise experts: GPTQ and clipping cost less output than rounding to nearest") {
  for (const char* name : {"qwen3moe", "gpt-oss", "mixtral", "mixtral-apart"}) {
    CAPTURE(std::string(name));
    const TinyModel model = expert_model(name, 4, 2);
    const Trial trial(model, 40);
    const gguf::File before = require_ok(gguf::File::open(trial.rig.in)),
                     nearest = trial.open("nearest.gguf", nullptr, "i4g32"),
                     gptq = trial.open("gptq.gguf", &trial.gptq, "i4g32"),
                     awq = trial.open("awq.gguf", &trial.awq, "i4g32");
    FirstLayer layer(trial.rig, trial.gptq);
    std::array<double, 3> sum{};
    for (int expert = 0; expert < model.n_experts; ++expert) {
      CAPTURE(expert);
      REQUIRE(layer.n_rows(expert) > 2 * kCols);
      for (const std::string stem : {"blk.0.ffn_gate", "blk.0.ffn_up", "blk.0.ffn_down"}) {
        CAPTURE(stem);
        const std::vector<float> w = expert_matrix(before, stem, expert);
        const auto error = [&](const gguf::File& file) {
          return layer.error(stem, expert, difference(expert_matrix(file, stem, expert), w));
        };
        const double by_nearest = error(nearest), by_gptq = error(gptq);
        CHECK(by_gptq < 0.9 * by_nearest);
        sum[0] += by_nearest;
        sum[1] += by_gptq;
        if (stem == "blk.0.ffn_gate" || std::string_view(name) == "gpt-oss") {  // not folded
          const double by_clips = error(awq);
          CHECK(by_clips < by_nearest);
          sum[2] += by_nearest - by_clips;
        }
      }
    }
    MESSAGE(std::string(name), ": rtn ", sum[0], ", gptq ", sum[1], "; awq's gain ", sum[2]);
  }
}

// down(silu(gate x) * up x) of all rows that reached an expert.
std::vector<float> expert_output(const gguf::File& file, int expert, std::span<const float> rows) {
  const auto product = [](const std::vector<float>& w, const float* x, float* y) {
    for (int r = 0; r < kCols; ++r) {
      double sum = 0;
      for (int k = 0; k < kCols; ++k) sum += double(w[size_t(r * kCols + k)]) * x[k];
      y[r] = float(sum);
    }
  };
  const std::vector<float> gate = expert_matrix(file, "blk.0.ffn_gate", expert),
                           up = expert_matrix(file, "blk.0.ffn_up", expert),
                           down = expert_matrix(file, "blk.0.ffn_down", expert);
  std::vector<float> out(rows.size());
  float g[kCols], u[kCols];
  for (size_t at = 0; at < rows.size(); at += kCols) {
    product(gate, rows.data() + at, g);
    product(up, rows.data() + at, u);
    for (int i = 0; i < kCols; ++i) u[i] *= g[i] / (1 + std::exp(-g[i]));
    product(down, u, out.data() + at);
  }
  return out;
}

TEST_CASE("layerwise experts: AWQ's scales fold into the expert's own rows") {
  const TinyModel model = expert_model("mixtral", 4, 2);
  for (const std::string type : {"i4g32", "q8_0"}) {
    const Trial trial(model, 40);
    const gguf::File before = require_ok(gguf::File::open(trial.rig.in)),
                     nearest = trial.open("nearest.gguf", nullptr, type),
                     awq = trial.open("awq.gguf", &trial.awq, type);
    const FirstLayer layer(trial.rig, trial.awq);
    double by_nearest = 0, by_awq = 0, all = 0;
    for (int expert = 0; expert < model.n_experts; ++expert) {
      const std::span<const float> rows = layer.rows("blk.0.ffn_gate", expert);
      const std::vector<float> expected = expert_output(before, expert, rows),
                               near = expert_output(nearest, expert, rows),
                               got = expert_output(awq, expert, rows);
      for (size_t i = 0; i < expected.size(); ++i) {
        all += double(expected[i]) * expected[i];
        by_nearest += (double(near[i]) - expected[i]) * (double(near[i]) - expected[i]);
        by_awq += (double(got[i]) - expected[i]) * (double(got[i]) - expected[i]);
      }
    }
    MESSAGE(type, ": rtn ", by_nearest / all, ", awq ", by_awq / all);
    if (type == "i4g32") CHECK(by_awq < by_nearest);
    CHECK(by_awq < 0.03 * all);  // a wrong fold is off by about 1
  }
}

TEST_CASE("layerwise experts: batches of any size give the same bytes, also after a stop") {
  for (const LayerMethod method : {LayerMethod::gptq, LayerMethod::awq}) {
    const LayerwiseRig rig(expert_model("qwen3moe", 6, 2));
    LayerwiseOptions options = rig.method(method);
    std::vector<std::string> said;
    require_ok(rig.run(options, "i4g32"));
    const std::string whole = rig.bytes();
    options.announce = [&](std::string_view line) { said.emplace_back(line); };
    uint64_t last = 0, last_total = 0;
    options.progress = [&](uint64_t done, uint64_t total) {
      CHECK(done >= last);
      last = done;
      last_total = total;
    };
    // Two Hessians are what an expert takes; the dense groups are beyond every budget.
    for (const uint64_t budget : {uint64_t{1}, uint64_t{4 * 2 * kCols * kCols * sizeof(float)}}) {
      options.hessian_budget = budget;
      said.clear();
      last = 0;
      require_ok(rig.run(options, "i4g32", {}, 3));
      CHECK(rig.bytes() == whole);
      REQUIRE(said.size() == 2);
      CHECK(said[0].ends_with(budget == 1 ? "experts in 6 batches" : "experts in 2 batches"));
      CHECK(last == last_total);
    }
    // Stopped while the second layer's third batch is watched.
    std::filesystem::remove(rig.out);
    options.hessian_budget = 1;
    last = 0;
    int left = 6 * 12 + 12 + 2 * 12 + 5;
    const auto stopped = rig.run(options, "i4g32", [&] { return --left < 0; });
    REQUIRE_FALSE(stopped.ok());
    CHECK(stopped.error().code == ErrorCode::cancelled);
    CHECK(std::filesystem::exists(rig.work / "layer-00000.gguf"));
    CHECK_FALSE(std::filesystem::exists(rig.work / "layer-00001.gguf"));
    options.hessian_budget = 0;
    last = 0;
    require_ok(rig.run(options, "i4g32"));
    CHECK(rig.bytes() == whole);
  }
}

TEST_CASE("layerwise experts: those that the text does not reach go by what the others read") {
  const TinyModel model = expert_model("qwen3moe", 24, 1);
  const Trial trial(model, 3);
  for (const LayerwiseOptions* options : {&trial.gptq, &trial.awq}) {
    const QuantizeReport report = require_ok(trial.rig.run(*options, "q4_0"));
    const gguf::File before = require_ok(gguf::File::open(trial.rig.in)),
                     after = require_ok(gguf::File::open(trial.rig.out));
    FirstLayer layer(trial.rig, *options);
    int n_unreached = 0;
    double by_nearest = 0, by_method = 0;  // in what all experts read
    for (int expert = 0; expert < model.n_experts; ++expert) {
      if (layer.n_rows(expert) > 0) continue;
      CAPTURE(expert);
      ++n_unreached;
      for (const std::string stem : {"blk.0.ffn_gate", "blk.0.ffn_up", "blk.0.ffn_down"}) {
        const std::vector<float> w = expert_matrix(before, stem, expert),
                                 got = expert_matrix(after, stem, expert);
        std::vector<std::byte> blocks(row_bytes(DType::q4_0, int64_t(w.size())));
        std::vector<float> nearest(w.size());
        encode(DType::q4_0, w, blocks.data());
        decode(DType::q4_0, blocks.data(), nearest.data(), int64_t(w.size()));
        if (stem.ends_with("down")) {
          CHECK(got == nearest);
        } else {
          by_nearest += layer.error("blk.0.ffn_gate_inp", 0, difference(nearest, w));
          by_method += layer.error("blk.0.ffn_gate_inp", 0, difference(got, w));
        }
      }
    }
    CHECK(by_method < 0.95 * by_nearest);
    CHECK(n_unreached > 0);
    CHECK(n_unreached < model.n_experts);
    const auto note = std::ranges::find_if(report.notes, [](const std::string& line) {
      return line.starts_with("the calibration text reached ");
    });
    REQUIRE(note != report.notes.end());
    CHECK(note->find(" experts of 2 layers ") != std::string::npos);
  }
}

TEST_CASE("layerwise experts: behind a dense layer they count in time and memory") {
  TinyModel model = expert_model("mixtral", 6, 2);
  model.n_dense = 1;
  const LayerwiseRig rig(model);
  const gguf::File file = require_ok(gguf::File::open(rig.in));
  const ModelConfig config = require_ok(read_config(file));
  std::vector<LayerParts> layers;
  for (int i = 0; i < 2; ++i) {
    layers.push_back({{}, input_groups(file, config, i)});
    for (const gguf::TensorInfo& tensor : file.tensors()) {
      if (layer_of(tensor.name) == i) layers.back().tensors.push_back({&tensor, DType::q4_0});
    }
  }
  const auto cost = [](std::span<const LayerParts> some) {
    return run_cost(some, {.method = LayerMethod::gptq,
                           .n_tokens = 64,
                           .n_ctx = 32,
                           .d_model = kCols,
                           .available = uint64_t{1} << 30,
                           .hessian_budget = 1});
  };
  const RunCost dense = cost(std::span(layers).first(1)), experts = cost(std::span(layers).last(1));
  CHECK(dense.n_batches == 1);
  CHECK(experts.n_batches == 6);
  CHECK(dense.bytes < experts.bytes);
  const RunCost both = cost(layers);
  CHECK(both.n_batches == 6);
  CHECK(both.bytes == experts.bytes);
  CHECK(both.total(0, 2) == doctest::Approx(dense.layers[0].total(2) + experts.layers[0].total(2) -
                                            2 * experts.layers[0].sequence));
  CHECK(both.total(1, 2) == doctest::Approx(both.total(0, 2) - dense.layers[0].total(2) +
                                            2 * dense.layers[0].sequence));

  LayerwiseOptions options = rig.method(LayerMethod::gptq);
  options.hessian_budget = 1;
  std::vector<std::string> said;
  options.announce = [&](std::string_view line) { said.emplace_back(line); };
  uint64_t last = 0, last_total = 0;
  options.progress = [&](uint64_t done, uint64_t total) {
    CHECK(done >= last);
    CHECK(done <= total);
    last = done;
    last_total = total;
  };
  require_ok(rig.run(options, "i4g32"));
  CHECK(last == last_total);
  REQUIRE_FALSE(said.empty());
  CHECK(said[0].ends_with("experts in 6 batches"));
}

}  // namespace
}  // namespace lm::test
