#include "engine/runtime/instance.h"

#include <algorithm>
#include <limits>
#include <new>
#include <stdexcept>

#include "engine/core/check.h"
#include "engine/core/checked.h"
#include "engine/core/machine.h"
#include "engine/core/text.h"
#include "engine/runtime/memory_plan.h"
#include "engine/runtime/step_logits.h"

namespace lm {
namespace {

constexpr int kMaxSeqs = 4096, kMaxStepTokens = 1 << 16;

Status check_range(std::string_view name, int value, int least, int most) {
  if (value >= least && value <= most) return ok();
  return Error{ErrorCode::bad_request,
               concat("expected ", name, " from ", least, " to ", most, ", found ", value)};
}

Status check_options(const InstanceOptions& options) {
  const int unbounded = std::numeric_limits<int>::max();
  LM_TRY(check_range("a context length", options.n_ctx, 0, unbounded));
  LM_TRY(check_range("a number of sequences", options.max_seqs, 1, kMaxSeqs));
  LM_TRY(check_range("a number of tokens in a step", options.max_step_tokens, 1, kMaxStepTokens));
  LM_TRY(check_range("a number of logits in a step", options.max_step_logits, 0, kMaxStepTokens));
  LM_TRY(check_range("a number of drafted tokens", options.draft_rows, 0, kMaxStepTokens));
  return ok();
}

// What can be allocated where this backend works.
uint64_t memory_of(const Backend& backend, const Registry& registry) {
  for (const BackendEntry& entry : registry.entries()) {
    if (entry.kind == "cpu") continue;  // counted by the machine, as the container limits it
    for (const DeviceInfo& device : entry.devices()) {
      if (device.name == backend.name()) return device.memory_bytes;
    }
  }
  return available_memory();
}

uint64_t tensor_bytes(const gguf::File& file) {
  uint64_t total = 0;  // no overflow: each tensor lies inside the file
  for (const gguf::TensorInfo& tensor : file.tensors()) total += tensor.bytes.size();
  return total;
}

KvLayout kv_layout(const ModelConfig& config, const InstanceOptions& options) {
  KvLayout layout;
  layout.block_size = options.block_size;
  layout.dtype = options.kv_dtype;
  for (const LayerSpec& layer : config.layers) {
    layout.layers.push_back({.n_kv_heads = layer.attn.n_kv_heads,
                             .head_dim = layer.attn.head_dim,
                             .windowed = layer.attn.window > 0});
  }
  return layout;
}

// Without the weights.
Result<MemoryNeeds> needs_of(const ModelConfig& config, const KvLayout& layout) {
  LM_TRY(validate(layout));
  const std::optional<KvBlockBytes> bytes = kv_block_bytes(layout);
  if (!bytes) {
    return Error{ErrorCode::out_of_memory, "a KV block of this model is larger than any memory"};
  }
  int window = 0;
  for (const LayerSpec& layer : config.layers) window = std::max(window, layer.attn.window);
  return MemoryNeeds{0, bytes->block, bytes->page, window};
}

Result<MemoryNeeds> needs_of(const gguf::File& file, const ModelConfig& config,
                             const KvLayout& layout) {
  MemoryNeeds needs = LM_TRY(needs_of(config, layout));
  needs.weight_bytes = tensor_bytes(file);
  return needs;
}

Result<MemoryPlan> plan(const InstanceOptions& options, const MemoryNeeds& needs,
                        const ModelConfig& config, bool on_cpu, uint64_t memory) {
  const std::optional<uint64_t> weights =
      checked_add(needs.weight_bytes, options.beside.weight_bytes);
  // A draft model plans for its windows itself, in as many bytes as it would have without them.
  std::optional<uint64_t> block =
      checked_add(options.beside.block_bytes, options.beside.page_bytes);
  if (block) block = checked_add(*block, needs.block_bytes);
  if (!weights || !block || !checked_add(*block, needs.page_bytes)) {
    return Error{ErrorCode::out_of_memory, "two models that are larger than any memory"};
  }
  return plan_memory({.n_ctx = options.n_ctx,
                      .n_ctx_train = config.n_ctx_train,
                      .max_seqs = options.max_seqs,
                      .kv_budget = options.kv_budget,
                      .block_size = options.block_size,
                      .block_bytes = *block,
                      .page_bytes = needs.page_bytes,
                      .window = needs.window,
                      .step_tokens = std::max(options.max_step_tokens, options.max_seqs),
                      .weight_bytes = *weights,
                      .weights_may_stay = on_cpu,
                      .memory_bytes = memory});
}

}  // namespace

struct Instance::Impl {
  gguf::File file;
  std::vector<StampedFile> files;
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<Backend> backend;  // outlives everything below: their memory is in its room
  Model model;
  KvCache kv;
  BlockPool pool;
  StepInputs inputs;
  std::unique_ptr<StepLogits> logits;
  std::vector<KvLayer> kv_layers;
  StepShape shape;
  int draft_rows;
  int n_ctx;
  bool weights_in_file;

  Status check_rows(std::span<const StepRow> rows) const;
  void forward(bool candidates);
  Result<int64_t> enqueue(std::span<const StepRow> rows, Backend::Body body);
  BlockPlace place_of(BlockId block) const;
};

namespace {

Result<std::unique_ptr<Tokenizer>> load_tokenizer(const gguf::File& file, bool needed) {
  Result<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::from_gguf(file);
  if (!tokenizer.ok() && !needed) return std::unique_ptr<Tokenizer>();
  return tokenizer;
}

}  // namespace

Instance::Instance(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Instance::~Instance() = default;

Result<std::unique_ptr<Instance>> Instance::open(const Registry& registry,
                                                 const InstanceOptions& options) {
  // The containers inside may be as large as the file says: running out of memory ends here.
  try {
    return open_model(registry, options);
  } catch (const std::bad_alloc&) {
    return Error{ErrorCode::out_of_memory,
                 concat("not enough memory to load ", printable(options.model_path.string()))};
  } catch (const std::length_error&) {
    return Error{ErrorCode::out_of_memory,
                 concat("not enough memory to load ", printable(options.model_path.string()))};
  }
}

Result<MemoryNeeds> Instance::needs(const InstanceOptions& options) {
  try {
    const gguf::File file = LM_TRY(gguf::File::open(options.model_path));
    const ModelConfig config = LM_TRY(read_config(file));
    return needs_of(file, config, kv_layout(config, options));
  } catch (const std::bad_alloc&) {
    return Error{ErrorCode::out_of_memory,
                 concat("not enough memory to read ", printable(options.model_path.string()))};
  }
}

Result<uint64_t> Instance::kv_bytes(const ModelConfig& config, const InstanceOptions& options) {
  LM_TRY(check_options(options));
  const MemoryNeeds needs = LM_TRY(needs_of(config, kv_layout(config, options)));
  const MemoryPlan found =
      LM_TRY(plan(options, needs, config, true, std::numeric_limits<uint64_t>::max()));
  const auto blocks = checked_mul(uint64_t(found.n_blocks), needs.block_bytes);
  const auto pages = checked_mul(uint64_t(found.n_pages), needs.page_bytes);
  const auto sum = blocks && pages ? checked_add(*blocks, *pages) : std::nullopt;
  if (sum) return *sum;
  return Error{ErrorCode::out_of_memory, "a KV cache that is larger than any memory"};
}

Result<std::unique_ptr<Instance>> Instance::open_model(const Registry& registry,
                                                       const InstanceOptions& options) {
  LM_TRY(check_options(options));
  gguf::File file = LM_TRY(gguf::File::open(options.model_path));
  std::vector<StampedFile> files;
  for (const std::filesystem::path& part : file.paths()) files.push_back(LM_TRY(stamp_file(part)));
  const ModelConfig config = LM_TRY(read_config(file));
  std::unique_ptr<Tokenizer> tokenizer = LM_TRY(load_tokenizer(file, options.need_tokenizer));
  std::unique_ptr<Backend> backend = LM_TRY(registry.open(options.device, options.backend));
  if (options.observer != nullptr) backend = observe(std::move(backend), *options.observer);

  const KvLayout layout = kv_layout(config, options);
  const uint64_t memory = memory_of(*backend, registry);
  const MemoryNeeds needs = LM_TRY(needs_of(file, config, layout));
  const MemoryPlan memory_plan =
      LM_TRY(plan(options, needs, config, backend->name() == "cpu", memory));
  const int block_size = layout.block_size;
  const StepShape shape = {
      .max_tokens = std::max(options.max_step_tokens, options.max_seqs) + options.draft_rows,
      .max_seqs = options.max_seqs,
      .max_logits = options.draft_rows +
                    (options.max_step_logits > 0 ? options.max_step_logits : options.max_seqs),
      .max_blocks = memory_plan.n_ctx / block_size + (memory_plan.n_ctx % block_size != 0 ? 1 : 0),
      .block_size = block_size,
      .windows = needs.window > 0};

  const ModelRoom room{backend.get(), memory_plan.weights_stay};
  const std::vector<Backend*> kv_rooms(config.layers.size(), backend.get());
  Model model = LM_TRY(Model::load(
      file, std::span(&room, 1), {.n_ctx = memory_plan.n_ctx, .progress = options.load_progress}));
  KvCache kv =
      LM_TRY(KvCache::allocate(kv_rooms, layout, memory_plan.n_blocks, memory_plan.n_pages));
  StepInputs inputs = LM_TRY(StepInputs::allocate(std::span(&room, 1), shape));
  std::unique_ptr<StepLogits> logits =
      LM_TRY(StepLogits::allocate(*backend, shape.max_logits, config.n_vocab));
  LM_TRY(model.reserve(shape.max_tokens, shape.max_seqs, shape.max_logits));

  std::vector<KvLayer> kv_layers;
  for (int layer = 0; layer < int(layout.layers.size()); ++layer) {
    kv_layers.push_back({kv.k(layer), kv.v(layer), layout.layers[size_t(layer)].windowed});
  }
  return std::unique_ptr<Instance>(new Instance(std::unique_ptr<Impl>(new Impl{
      .file = std::move(file),
      .files = std::move(files),
      .tokenizer = std::move(tokenizer),
      .backend = std::move(backend),
      .model = std::move(model),
      .kv = std::move(kv),
      .pool = BlockPool(memory_plan.n_blocks, block_size, {needs.window, memory_plan.n_pages}),
      .inputs = std::move(inputs),
      .logits = std::move(logits),
      .kv_layers = std::move(kv_layers),
      .shape = shape,
      .draft_rows = options.draft_rows,
      .n_ctx = memory_plan.n_ctx,
      .weights_in_file = memory_plan.weights_stay})));
}

const ModelConfig& Instance::config() const {
  return impl_->model.config();
}
const gguf::File& Instance::file() const {
  return impl_->file;
}
const std::vector<StampedFile>& Instance::files() const {
  return impl_->files;
}
const Tokenizer* Instance::tokenizer() const {
  return impl_->tokenizer.get();
}
Backend& Instance::backend() const {
  return *impl_->backend;
}
BlockPool& Instance::pool() const {
  return impl_->pool;
}
int Instance::n_ctx() const {
  return impl_->n_ctx;
}
int Instance::max_seqs() const {
  return impl_->shape.max_seqs;
}
int Instance::max_step_tokens() const {
  return impl_->shape.max_tokens;
}
int Instance::max_step_logits() const {
  return impl_->shape.max_logits;
}
int Instance::draft_rows() const {
  return impl_->draft_rows;
}
DType Instance::kv_dtype() const {
  return impl_->kv.layout().dtype;
}
uint64_t Instance::kv_bytes() const {
  return impl_->kv.bytes();
}
bool Instance::weights_in_file() const {
  return impl_->weights_in_file;
}
uint64_t Instance::weight_bytes() const {
  return impl_->model.weight_bytes();
}

Status Instance::Impl::check_rows(std::span<const StepRow> rows) const {
  const int n_vocab = model.config().n_vocab;
  for (const StepRow& row : rows) {
    for (const TokenId id : row.tokens) {
      if (id >= 0 && id < n_vocab) continue;
      return Error{ErrorCode::bad_request,
                   concat("expected a token id below ", n_vocab, ", found ", id)};
    }
    const uint64_t end = uint64_t(row.first_position) + row.tokens.size();
    if (end <= uint64_t(n_ctx)) continue;
    return Error{ErrorCode::context_full,
                 concat("expected at most ", n_ctx, " tokens in a sequence, found ", end)};
  }
  return ok();
}

void Instance::Impl::forward(bool candidates) {
  const std::span<const RoomStep> steps = inputs.steps();
  const int64_t n_logits = steps.front().logit_rows.cols();
  model.forward(steps, kv_layers, logits->rows(n_logits));
  if (candidates) logits->find_candidates(n_logits);
}

// Enqueues the step; its number of logits.
Result<int64_t> Instance::Impl::enqueue(std::span<const StepRow> rows, Backend::Body body) {
  LM_TRY(check_rows(rows));
  inputs.assemble(rows);
  const RoomStep& step = inputs.steps().front();
  const int64_t n_logits = step.logit_rows.cols();
  backend->run({uint32_t(step.all.n_tokens), uint32_t(step.all.n_seqs), uint32_t(n_logits)}, body,
               this);
  return n_logits;
}

Result<std::span<float>> Instance::step(std::span<const StepRow> rows) {
  const auto body = [](void* impl) { static_cast<Impl*>(impl)->forward(false); };
  const int64_t n_logits = LM_TRY(impl_->enqueue(rows, body));
  return impl_->logits->all(n_logits);
}

Status Instance::compute(std::span<const StepRow> rows, std::vector<LogitRow>& logits) {
  const auto body = [](void* impl) { static_cast<Impl*>(impl)->forward(true); };
  const int64_t n_logits = LM_TRY(impl_->enqueue(rows, body));
  return impl_->logits->host_rows(n_logits, logits);
}

BlockPlace Instance::Impl::place_of(BlockId block) const {
  return {.block = block, .page = pool.pages().of(block)};
}

void Instance::copy_block(const BlockCopy& copy) {
  impl_->kv.copy_block(impl_->place_of(copy.from), impl_->place_of(copy.to));
}
uint64_t Instance::block_bytes() const {
  return impl_->kv.block_bytes();
}
void Instance::read_block(BlockId block, std::span<std::byte> into) const {
  impl_->kv.read_block(impl_->place_of(block), into);
}
void Instance::write_block(BlockId block, std::span<const std::byte> from) {
  impl_->kv.write_block(impl_->place_of(block), from);
}

}  // namespace lm
