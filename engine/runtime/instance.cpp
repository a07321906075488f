#include "engine/runtime/instance.h"

#include <algorithm>
#include <limits>
#include <new>
#include <stdexcept>

#include "engine/core/check.h"
#include "engine/core/text.h"
#include "engine/runtime/step_logits.h"

namespace lm {
struct Instance::Impl {
  gguf::File file;
  std::vector<StampedFile> files;
  std::unique_ptr<Tokenizer> tokenizer;
  ModelPlan plan;
  std::vector<std::unique_ptr<Backend>> rooms;  // outlive everything below: their memory is there
  Model model;
  KvCache kv;
  BlockPool pool;
  StepInputs inputs;
  std::unique_ptr<StepLogits> logits;
  bool runs_ahead;
  std::vector<KvLayer> kv_layers;
  int draft_rows;
  // A step in the rooms from one on, which runs inside the room in front of it, so that each may
  // record its part; behind the last room, the step itself.
  struct Inside {
    Impl* impl;
    Backend::Body body;
    size_t room;
  };
  std::vector<Inside> plain{}, with_candidates{};  // by room

  Status check_rows(std::span<const StepRow> rows) const;
  void forward(bool candidates);
  static void enter(void* inside);
  std::vector<Inside> nested(Backend::Body body);
  int64_t n_logits() const { return inputs.steps().front().logit_rows.cols(); }
  Status enqueue(std::span<const StepRow> rows, std::vector<Inside>& step);
  Status run(std::vector<Inside>& step);
  BlockPlace place_of(BlockId block) const;
};

namespace {

Result<std::unique_ptr<Tokenizer>> load_tokenizer(const gguf::File& file, bool needed) {
  Result<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::from_gguf(file);
  if (!tokenizer.ok() && !needed) return std::unique_ptr<Tokenizer>();
  return tokenizer;
}

Result<std::vector<std::unique_ptr<Backend>>> open_rooms(const Registry& registry,
                                                         const InstanceOptions& options,
                                                         const ModelPlan& plan) {
  std::vector<std::unique_ptr<Backend>> rooms;
  for (const RoomPlan& room : plan.rooms) {
    rooms.push_back(LM_TRY(registry.open(room.device, options.backend)));
    if (options.observer == nullptr) continue;
    rooms.back() = observe(std::move(rooms.back()), *options.observer);
  }
  return rooms;
}

}  // namespace

Instance::Instance(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {
  impl_->plain = impl_->nested([](void* self) { static_cast<Impl*>(self)->forward(false); });
  impl_->with_candidates =
      impl_->nested([](void* self) { static_cast<Impl*>(self)->forward(true); });
}
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
    return memory_needs(file, LM_TRY(read_config(file)), options);
  } catch (const std::bad_alloc&) {
    return Error{ErrorCode::out_of_memory,
                 concat("not enough memory to read ", printable(options.model_path.string()))};
  }
}

Result<std::unique_ptr<Instance>> Instance::open_model(const Registry& registry,
                                                       const InstanceOptions& options) {
  LM_TRY(check_options(options));
  gguf::File file = LM_TRY(gguf::File::open(options.model_path));
  std::vector<StampedFile> files;
  for (const std::filesystem::path& part : file.paths()) files.push_back(LM_TRY(stamp_file(part)));
  const ModelConfig config = LM_TRY(read_config(file));
  std::unique_ptr<Tokenizer> tokenizer = LM_TRY(load_tokenizer(file, options.need_tokenizer));
  const std::vector<DeviceOffer> devices = LM_TRY(offers_of(registry, options.device));
  ModelPlan plan = LM_TRY(plan_model(file, config, devices, options));
  std::vector<std::unique_ptr<Backend>> backends = LM_TRY(open_rooms(registry, options, plan));

  const Placement& placement = plan.placement;
  std::vector<ModelRoom> rooms;
  for (size_t i = 0; i < backends.size(); ++i) {
    rooms.push_back({backends[i].get(), plan.rooms[i].weights_stay});
  }
  std::vector<Backend*> kv_rooms;
  for (size_t i = 0; i < config.layers.size(); ++i) {
    kv_rooms.push_back(backends[size_t(placement.attention(i))].get());
  }
  Model model = LM_TRY(Model::load(
      file, rooms,
      {.n_ctx = plan.n_ctx, .placement = placement, .progress = options.load_progress}));
  KvCache kv = LM_TRY(KvCache::allocate(kv_rooms, plan.kv, plan.n_blocks, plan.n_pages));
  StepInputs inputs = LM_TRY(StepInputs::allocate(rooms, plan.shape));
  std::unique_ptr<StepLogits> logits = LM_TRY(StepLogits::allocate(
      *backends[size_t(placement.output())], plan.shape.max_logits, config.n_vocab));
  // Rooms wait for each other in a step, and its host with them.
  const bool runs_ahead =
      backends.size() == 1 && backends.front()->asynchronous() && options.backend.run_ahead;
  LM_TRY(model.reserve(plan.shape.max_tokens, plan.shape.max_seqs, plan.shape.max_logits));

  std::vector<KvLayer> kv_layers;
  for (int layer = 0; layer < int(plan.kv.layers.size()); ++layer) {
    kv_layers.push_back({kv.k(layer), kv.v(layer), plan.kv.layers[size_t(layer)].windowed});
  }
  BlockPool pool(plan.n_blocks, plan.kv.block_size, {plan.window, plan.n_pages});
  return std::unique_ptr<Instance>(
      new Instance(std::unique_ptr<Impl>(new Impl{.file = std::move(file),
                                                  .files = std::move(files),
                                                  .tokenizer = std::move(tokenizer),
                                                  .plan = std::move(plan),
                                                  .rooms = std::move(backends),
                                                  .model = std::move(model),
                                                  .kv = std::move(kv),
                                                  .pool = std::move(pool),
                                                  .inputs = std::move(inputs),
                                                  .logits = std::move(logits),
                                                  .runs_ahead = runs_ahead,
                                                  .kv_layers = std::move(kv_layers),
                                                  .draft_rows = options.draft_rows})));
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
const ModelPlan& Instance::plan() const {
  return impl_->plan;
}
Backend& Instance::backend(size_t room) const {
  return *impl_->rooms[room];
}
BlockPool& Instance::pool() const {
  return impl_->pool;
}
int Instance::n_ctx() const {
  return impl_->plan.n_ctx;
}
int Instance::max_seqs() const {
  return impl_->plan.shape.max_seqs;
}
int Instance::max_step_tokens() const {
  return impl_->plan.shape.max_tokens;
}
int Instance::max_step_logits() const {
  return impl_->plan.shape.max_logits;
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
  return impl_->plan.weights_stay();
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
    if (end <= uint64_t(plan.n_ctx)) continue;
    return Error{ErrorCode::context_full,
                 concat("expected at most ", plan.n_ctx, " tokens in a sequence, found ", end)};
  }
  return ok();
}

void Instance::Impl::forward(bool candidates) {
  model.forward(inputs.steps(), kv_layers, logits->rows(n_logits()));
  if (candidates) logits->find_candidates(n_logits());
}

std::vector<Instance::Impl::Inside> Instance::Impl::nested(Backend::Body body) {
  std::vector<Inside> all;
  for (size_t room = 0; room <= rooms.size(); ++room) all.push_back({this, body, room});
  return all;
}

// By its address a room knows the step again.
void Instance::Impl::enter(void* inside) {
  const Inside& here = *static_cast<Inside*>(inside);
  Impl& impl = *here.impl;
  if (here.room == impl.rooms.size()) return here.body(&impl);
  const StepView& step = impl.inputs.steps().front().all;
  impl.rooms[here.room]->run(
      {uint32_t(step.n_tokens), uint32_t(step.n_seqs), uint32_t(impl.n_logits())}, enter,
      static_cast<Inside*>(inside) + 1);
}

Status Instance::Impl::enqueue(std::span<const StepRow> rows, std::vector<Inside>& step) {
  LM_TRY(check_rows(rows));
  inputs.assemble(rows);
  return run(step);
}

// Of what was assembled.
Status Instance::Impl::run(std::vector<Inside>& step) {
  enter(step.data());
  if (rooms.size() == 1) return ok();
  for (const std::unique_ptr<Backend>& room : rooms) LM_TRY(room->synchronize());
  return ok();
}

Result<std::span<float>> Instance::step(std::span<const StepRow> rows) {
  LM_TRY(impl_->enqueue(rows, impl_->plain));
  return impl_->logits->all(impl_->n_logits());
}

Status Instance::compute(std::span<const StepRow> rows, std::vector<LogitRow>& logits) {
  LM_TRY(launch(rows));
  return collect(0, logits);
}

Status Instance::launch(std::span<const StepRow> rows) {
  LM_TRY(impl_->enqueue(rows, impl_->with_candidates));
  impl_->logits->send(impl_->n_logits(), {});
  return ok();
}

Status Instance::collect(int n_launched_since, std::vector<LogitRow>& logits) {
  return impl_->logits->host_rows(n_launched_since, logits);
}

bool Instance::runs_ahead() const {
  return impl_->runs_ahead;
}

Status Instance::launch_ahead(std::span<const StepRow> rows, std::span<const DrawRule> rules) {
  LM_CHECK(runs_ahead() && rows.size() == rules.size());
  LM_TRY(impl_->check_rows(rows));
  impl_->inputs.assemble(rows);
  impl_->logits->draw(rules, impl_->inputs.steps().front().all.token_ids);
  LM_TRY(impl_->run(impl_->with_candidates));
  impl_->logits->send(impl_->n_logits(), impl_->inputs.steps().front().all.token_ids);
  return ok();
}

std::span<const TokenId> Instance::guesses() const {
  return impl_->logits->guesses();
}

bool Instance::launched(int index, const StepRow& row) const {
  return impl_->inputs.holds(index, row);
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
Status Instance::read_block(BlockId block, std::span<std::byte> into) const {
  return impl_->kv.read_block(impl_->place_of(block), into);
}
void Instance::send_block(BlockId block, Landing& into) const {
  impl_->kv.send_block(impl_->place_of(block), into);
}
void Instance::write_block(BlockId block, std::span<const std::byte> from) {
  impl_->kv.write_block(impl_->place_of(block), from);
}

}  // namespace lm
