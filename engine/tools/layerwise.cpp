#include "engine/tools/layerwise.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <new>
#include <optional>
#include <system_error>
#include <utility>

#include "backends/observe.h"
#include "engine/core/check.h"
#include "engine/core/hash.h"
#include "engine/core/machine.h"
#include "engine/core/text.h"
#include "engine/model/layer_runner.h"
#include "engine/model/model.h"
#include "engine/tools/calibration.h"
#include "engine/tools/group_rounding.h"
#include "engine/tools/hessian_collector.h"
#include "engine/tools/layerwise_cost.h"
#include "engine/tools/rewrite.h"

namespace fs = std::filesystem;

namespace lm {
namespace {

// Changes when a method makes something else of the same input: layers of both would not fit.
constexpr int kMethodVersion = 3;
// Of a finished layer: the run that it belongs to, and how many experts the text said nothing of.
constexpr std::string_view kRunKey = "llm.quantize.run";
constexpr std::string_view kUnreachedKey = "llm.quantize.unreached_experts";

std::string_view method_name(LayerMethod method) {
  return method == LayerMethod::gptq ? "gptq" : "awq";
}

// "12 s", "7 min", "3.5 h".
std::string duration(double seconds) {
  char text[40];
  if (seconds < 100) {
    std::snprintf(text, sizeof text, "%.0f s", std::max(1.0, seconds));
  } else if (seconds < 6000) {
    std::snprintf(text, sizeof text, "%.0f min", seconds / 60);
  } else {
    std::snprintf(text, sizeof text, "%.1f h", seconds / 3600);
  }
  return text;
}

// Hessians of fewer rows than columns leave some of what a matrix does unsaid.
void note_short_text(const QuantizeContext& context, std::span<const LayerParts> layers,
                     uint64_t n_tokens) {
  const auto wanted = [](const InputGroup& group) { return double(group.n_cols) / group.share; };
  const InputGroup* most = nullptr;
  for (const LayerParts& layer : layers) {
    for (const InputGroup& group : layer.groups) {
      if (most == nullptr || wanted(group) > wanted(*most)) most = &group;
    }
  }
  if (most == nullptr || double(n_tokens) >= wanted(*most)) return;
  const auto reach = uint64_t(double(n_tokens) * most->share);
  context.notes(concat("the calibration text has ", n_tokens, " tokens",
                       most->expert >= 0 ? concat(", about ", reach, " for each expert,") : "",
                       " for matrices of ", most->n_cols,
                       " columns: a longer one quantizes better"));
}

// Work done and to do, and the time since it began.
class Clock {
 public:
  Clock(double total, const LayerwiseOptions& options) : total_(total), options_(options) {}

  void add(double operations) {
    done_ += operations;
    const auto whole = [](double count) { return uint64_t(std::llround(count)); };
    if (options_.progress) options_.progress(whole(done_), whole(std::max(total_, done_)));
  }
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }
  double total() const { return total_; }

 private:
  double total_, done_ = 0;
  const LayerwiseOptions& options_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

class LayerwiseMethod final : public QuantizeMethod {
 public:
  LayerwiseMethod(const Registry& registry, LayerwiseOptions options)
      : registry_(registry), options_(std::move(options)) {}

  std::string_view name() const override { return method_name(options_.method.method); }
  Status check(std::span<const PlannedType> plan) const override;
  bool uses_importance(const PlannedType& planned) const override {
    return layer_of(planned.from->name) < 0 && QuantizeMethod::uses_importance(planned);
  }
  Status prepare(const QuantizeContext& context, gguf::Writer& writer) override;
  Status fill(const QuantizeContext& context, size_t index,
              const gguf::Writer::Sink& sink) override;
  void finish() override;
  Error failed(Error error) const override;

 private:
  fs::path part_path(int layer) const;
  Error stopped() const;
  Result<std::optional<gguf::File>> finished(int layer) const;
  Status run(const QuantizeContext& context, gguf::Writer& writer);
  Result<std::string> fingerprint(const QuantizeContext& context, const Calibration& calibration,
                                  const Backend& backend) const;
  std::vector<LayerTensor> tensors_of(const QuantizeContext& context, int layer) const;
  Status announce_cost(const QuantizeContext& context, const Calibration& calibration);
  Status run_layers(const QuantizeContext& context, const Calibration& calibration,
                    LayerRunner& runner, HessianCollector& collector);
  Status quantize_layer(const QuantizeContext& context, int layer, LayerRunner& runner,
                        HessianCollector& collector, std::span<const float> x);
  Status watch(const QuantizeContext& context, int layer, LayerRunner& runner,
               HessianCollector& collector, std::span<const float> x);
  Status write_part(std::span<const LayerTensor> tensors, LayerQuantizer quantizer,
                    int layer) const;
  Status note_unreached(const QuantizeContext& context) const;
  Status pass_on(const QuantizeContext& context, int layer, LayerRunner& runner,
                 std::span<float> x);

  const Registry& registry_;
  LayerwiseOptions options_;
  std::string run_;  // names this run: see kRunKey
  size_t sequence_floats_ = 0;
  RunCost cost_;
  std::optional<Clock> clock_;
  bool announced_ = false;  // how long it takes
  std::vector<gguf::File> parts_;
};

fs::path LayerwiseMethod::part_path(int layer) const {
  char name[40];
  std::snprintf(name, sizeof name, "layer-%05d.gguf", layer);
  return options_.work / name;
}

Error LayerwiseMethod::stopped() const {
  return {ErrorCode::cancelled,
          parts_.empty() ? "stopped before the first layer was finished" : "stopped"};
}

// Hours of work are not lost to a full disk, nor to anything else.
Error LayerwiseMethod::failed(Error error) const {
  if (parts_.empty()) return error;
  error.message +=
      concat("; ", parts_.size(), " finished layers are kept in ",
             printable(options_.work.string(), 1000), ", and the same command goes on");
  return error;
}

Status LayerwiseMethod::check(std::span<const PlannedType> plan) const {
  for (const PlannedType& planned : plan) {
    if (!planned.from->name.ends_with(".perm")) continue;
    return Error{ErrorCode::unsupported,
                 concat("expected a model whose columns are in order, found ",
                        printable(planned.from->name), ": quantize the original weights instead")};
  }
  return check_group_bits(plan, options_.method.bits, options_.method.symmetric);
}

// What the bytes of a layer depend on.
Result<std::string> LayerwiseMethod::fingerprint(const QuantizeContext& context,
                                                 const Calibration& calibration,
                                                 const Backend& backend) const {
  const LayerMethodOptions& m = options_.method;
  std::string text = concat(name(), ' ', kMethodVersion, ' ', m.bits.value_or(4), ' ', m.symmetric,
                            ' ', m.feedback.damping, ' ', m.feedback.by_importance, ' ',
                            backend.arithmetic(), ' ', calibration.n_ctx, '\n');
  // The whole model: a layer follows from all weights before it, and from the metadata.
  HashStream hash;
  gguf::Writer model;
  copy_metadata(context.file, model);
  for (const PlannedType& planned : context.plan) {
    const gguf::TensorInfo& from = *planned.from;
    text += concat(dtype_name(planned.type), '\n');
    LM_TRY(model.add_tensor(from.name, from.dtype, dims_of(from)));
  }
  const auto add = [&hash](std::span<const std::byte> bytes) {
    hash.add(bytes);
    return ok();
  };
  LM_TRY(model.stream(add, [&](size_t i, const gguf::Writer::Sink& sink) -> Status {
    constexpr size_t kPiece = size_t{16} << 20;  // bytes between two questions whether to stop
    const std::span<const std::byte> bytes = context.plan[i].from->bytes;
    for (size_t done = 0; done < bytes.size(); done += kPiece) {
      if (done > 0 && context.stop && context.stop())
        return Error{ErrorCode::cancelled, "stopped before the first layer"};
      LM_TRY(sink(bytes.subspan(done, std::min(kPiece, bytes.size() - done))));
    }
    context.file.release(bytes);
    return ok();
  }));
  for (const std::vector<TokenId>& sequence : calibration.sequences)
    hash.add(std::as_bytes(std::span(sequence)));
  hash.add(std::as_bytes(std::span(text)));
  return hex(hash.value());
}

std::vector<LayerTensor> LayerwiseMethod::tensors_of(const QuantizeContext& context,
                                                     int layer) const {
  std::vector<LayerTensor> tensors;
  for (const PlannedType& planned : context.plan) {
    if (layer_of(planned.from->name) == layer) tensors.push_back({planned.from, planned.type});
  }
  return tensors;
}

// The part of a layer, if it is there and of this run; bad_request when it is of another.
Result<std::optional<gguf::File>> LayerwiseMethod::finished(int layer) const {
  std::error_code unreadable;
  if (!fs::exists(part_path(layer), unreadable)) return std::optional<gguf::File>();
  gguf::File part = LM_TRY(gguf::File::open(part_path(layer)));
  const std::string_view run = LM_TRY(part.str_or(kRunKey, ""));
  if (run != run_) {
    return Error{ErrorCode::bad_request,
                 concat("expected layers of this model, text and method in ",
                        printable(options_.work.string(), 1000),
                        ", found those of another run: remove the folder, or quantize as then")};
  }
  return std::optional<gguf::File>(std::move(part));
}

Status LayerwiseMethod::announce_cost(const QuantizeContext& context,
                                      const Calibration& calibration) {
  const ModelConfig config = LM_TRY(read_config(context.file));
  std::vector<LayerParts> layers;
  for (int i = 0; i < int(config.layers.size()); ++i)
    layers.push_back({tensors_of(context, i), input_groups(context.file, config, i)});
  const uint64_t n_tokens = calibration.n_tokens(), available = available_memory();
  cost_ = run_cost(layers, {.method = options_.method.method,
                            .n_tokens = n_tokens,
                            .n_ctx = calibration.n_ctx,
                            .d_model = config.d_model,
                            .available = available,
                            .hessian_budget = options_.hessian_budget});
  sequence_floats_ = size_t(calibration.n_ctx) * size_t(config.d_model);
  if (cost_.bytes > available) {
    return Error{ErrorCode::out_of_memory,
                 concat("expected ", cost_.bytes >> 20, " MiB of memory for ", n_tokens,
                        " tokens of calibration, found ", available >> 20, " MiB")};
  }
  if (options_.announce) {
    std::string line = concat(name(), ": ", config.layers.size(), " layers, ", n_tokens,
                              " tokens in ", calibration.sequences.size(), " sequences, ",
                              (cost_.bytes >> 20) + 1, " MiB beside the mapped file");
    if (cost_.n_batches > 1) line += concat(", experts in ", cost_.n_batches, " batches");
    options_.announce(line);
  }
  note_short_text(context, layers, n_tokens);
  return ok();
}

Status LayerwiseMethod::prepare(const QuantizeContext& context, gguf::Writer& writer) {
  // Vectors are as large as the text and the model say: running out of memory ends here.
  try {
    Status done = run(context, writer);
    if (done.ok()) return done;
    return failed(std::move(done).error());
  } catch (const std::bad_alloc&) {
    return failed({ErrorCode::out_of_memory,
                   "not enough memory to quantize layer by layer: use fewer calibration tokens"});
  }
}

Status LayerwiseMethod::run(const QuantizeContext& context, gguf::Writer& writer) {
  const Calibration calibration =
      LM_TRY(make_calibration(context.file, options_.text, options_.n_ctx, options_.max_sequences));
  HessianCollector collector(context.threads);
  // The pool is the caller's: a pointer to it that owns nothing.
  const std::shared_ptr<ThreadPool> threads(std::shared_ptr<void>(), &context.threads);
  const std::unique_ptr<Backend> backend = observe(
      LM_TRY(registry_.open("cpu", {.n_threads = 0, .isa = "", .threads = threads})), collector);
  run_ = LM_TRY(fingerprint(context, calibration, *backend));
  std::error_code failed;
  fs::create_directory(options_.work, failed);
  if (failed) {
    return Error{ErrorCode::bad_file, concat(printable(options_.work.string(), 1000),
                                             ": can't be created: ", failed.message())};
  }
  const auto all_layers = [&]() -> Status {
    LM_TRY(announce_cost(context, calibration));
    LayerRunner runner = LM_TRY(LayerRunner::open(context.file, *backend, calibration.n_ctx));
    return run_layers(context, calibration, runner, collector);
  };
  Status finished = all_layers();
  if (!finished.ok()) {
    fs::remove(options_.work, failed);  // when no layer waits in it
    return finished;
  }
  LM_TRY(note_unreached(context));
  writer.set_str("quantize.method", name());
  writer.set_u32("quantize.calibration.tokens", uint32_t(calibration.n_tokens()));
  return ok();
}

Status LayerwiseMethod::run_layers(const QuantizeContext& context, const Calibration& calibration,
                                   LayerRunner& runner, HessianCollector& collector) {
  const int n_layers = int(runner.config().layers.size());
  int next = 0;  // the first layer that is not finished
  while (next < n_layers) {
    std::optional<gguf::File> part = LM_TRY(finished(next));
    if (!part) break;
    parts_.push_back(std::move(*part));
    ++next;
  }
  if (next > 0 && options_.announce)
    options_.announce(concat("going on behind ", next, " finished layers of ", n_layers));
  if (next == n_layers) return ok();
  const auto n_sequences = calibration.sequences.size();
  clock_.emplace(cost_.total(size_t(next), n_sequences), options_);

  // The residual stream of all sequences, before the layer whose turn it is.
  std::vector<float> x(calibration.sequences.size() * sequence_floats_);
  for (size_t i = 0; i < calibration.sequences.size(); ++i) {
    LM_TRY(runner.embed(calibration.sequences[i],
                        std::span(x).subspan(i * sequence_floats_, sequence_floats_)));
  }
  for (int layer = 0; layer < n_layers; ++layer) {
    if (layer >= next) LM_TRY(quantize_layer(context, layer, runner, collector, x));
    if (layer + 1 == n_layers) break;
    LM_TRY(runner.load(layer, parts_[size_t(layer)]));
    LM_TRY(pass_on(context, layer, runner, x));
  }
  return ok();
}

// Batch by batch, by what the original weights and the quantized layers before them give.
Status LayerwiseMethod::quantize_layer(const QuantizeContext& context, int layer,
                                       LayerRunner& runner, HessianCollector& collector,
                                       std::span<const float> x) {
  const std::vector<LayerTensor> tensors = tensors_of(context, layer);
  const std::vector<InputGroup> groups = input_groups(context.file, runner.config(), layer);
  std::optional<LayerQuantizer> quantizer;
  for (const std::span<const InputGroup> batch : group_batches(groups, cost_.hessian_budget)) {
    const bool first = !quantizer;
    const bool router = first && shared_columns(groups) > 0;
    LM_TRY(collector.watch(batch, router ? concat("blk.", layer, ".ffn_gate_inp.weight") : "",
                           shared_columns(groups)));
    // Loaded once: the first batch wants the inputs of all tensors that later ones do.
    if (first) LM_TRY(runner.load(layer, context.file));
    LM_TRY(watch(context, layer, runner, collector, x));
    std::vector<Hessian> hessians = LM_TRY(collector.finish());
    if (first) {
      quantizer = LM_TRY(LayerQuantizer::create(tensors, LM_TRY(collector.finish_router()),
                                                options_.method, context.threads));
    }
    LM_TRY(quantizer->add(batch, std::move(hessians)));
  }
  collector.stop();
  LM_TRY(write_part(tensors, *std::move(quantizer), layer));
  parts_.push_back(LM_TRY(gguf::File::open(part_path(layer))));
  for (const LayerTensor& tensor : tensors) context.file.release(tensor.from->bytes);
  clock_->add(cost_.layers[size_t(layer)].quantize);
  return ok();
}

// All sequences through the layer, which stays before them.
Status LayerwiseMethod::watch(const QuantizeContext& context, int layer, LayerRunner& runner,
                              HessianCollector& collector, std::span<const float> x) {
  std::vector<float> sequence(sequence_floats_);
  const LayerCost& cost = cost_.layers[size_t(layer)];
  const double operations = cost.sequence + cost.hessians / double(cost.n_batches);
  const double before = clock_->seconds();
  for (size_t first = 0; first < x.size(); first += sequence_floats_) {
    if (context.stop && context.stop()) return stopped();
    collector.begin_sequence();
    std::copy_n(x.begin() + std::ptrdiff_t(first), sequence_floats_, sequence.begin());
    LM_TRY(runner.run(sequence));
    if (!std::exchange(announced_, true) && options_.announce) {  // now it is known how fast
      options_.announce(concat(
          "about ", duration((clock_->seconds() - before) * clock_->total() / operations), " on ",
          context.threads.size(), context.threads.size() == 1 ? " thread" : " threads"));
    }
    clock_->add(operations);
  }
  return ok();
}

Status LayerwiseMethod::pass_on(const QuantizeContext& context, int layer, LayerRunner& runner,
                                std::span<float> x) {
  for (size_t first = 0; first < x.size(); first += sequence_floats_) {
    if (context.stop && context.stop()) return stopped();
    LM_TRY(runner.run(x.subspan(first, sequence_floats_)));
    clock_->add(cost_.layers[size_t(layer)].sequence);
  }
  return ok();
}

Status LayerwiseMethod::write_part(std::span<const LayerTensor> tensors, LayerQuantizer quantizer,
                                   int layer) const {
  gguf::Writer writer;
  writer.set_str(kRunKey, run_);
  writer.set_u32(kUnreachedKey, uint32_t(quantizer.n_unreached_experts()));
  for (const LayerTensor& tensor : tensors) {
    LM_TRY(writer.add_tensor(tensor.from->name, tensor.type,
                             std::span(tensor.from->dims).first(size_t(tensor.from->n_dims))));
  }
  const LayerBytes bytes = std::move(quantizer).finish();
  return writer.write(part_path(layer), [&](size_t i, const gguf::Writer::Sink& sink) {
    return sink(bytes.find(tensors[i].from->name)->second);
  });
}

Status LayerwiseMethod::note_unreached(const QuantizeContext& context) const {
  uint64_t n_experts = 0, n_layers = 0;
  for (const gguf::File& part : parts_) {
    const uint32_t n = LM_TRY(part.u32_or(kUnreachedKey, 0));
    n_experts += n;
    n_layers += n > 0 ? 1 : 0;
  }
  if (n_experts == 0) return ok();
  context.notes(
      concat("the calibration text reached ", n_experts, " experts of ", n_layers,
             n_layers == 1 ? " layer" : " layers",
             " with no token: they are quantized by what the others read, and rounded to nearest "
             "where that says nothing; a longer text would reach them"));
  return ok();
}

Status LayerwiseMethod::fill(const QuantizeContext& context, size_t index,
                             const gguf::Writer::Sink& sink) {
  const PlannedType& planned = context.plan[index];
  const int layer = layer_of(planned.from->name);
  if (layer < 0 || layer >= int(parts_.size())) return fill_plainly(context, index, sink);
  const gguf::TensorInfo* made = parts_[size_t(layer)].tensor(planned.from->name);
  if (made == nullptr || made->dtype != planned.type || made->dims != planned.from->dims) {
    return Error{ErrorCode::bad_file, concat(printable(part_path(layer).string(), 1000),
                                             ": expected ", printable(planned.from->name), " as ",
                                             dtype_name(planned.type), ", found otherwise")};
  }
  LM_TRY(sink(made->bytes));
  parts_[size_t(layer)].release(made->bytes);
  return ok();
}

void LayerwiseMethod::finish() {
  std::error_code left;  // files that stay are in nobody's way
  for (int layer = 0; layer < int(parts_.size()); ++layer) fs::remove(part_path(layer), left);
  fs::remove(options_.work, left);  // where it is empty
}

}  // namespace

std::unique_ptr<QuantizeMethod> make_layerwise_method(const Registry& registry,
                                                      LayerwiseOptions options) {
  return std::make_unique<LayerwiseMethod>(registry, std::move(options));
}

}  // namespace lm
