#include "engine/runtime/kv_store.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <new>

#include "engine/core/text.h"

namespace lm {
namespace {

// Changes with the order of operations in engine/model, as a backend's own number does with its
// kernels': what was computed before is not what would be computed now.
constexpr int kModelArithmetic = 1;

constexpr size_t kMostEnded = 64;                        // texts whose ends wait to be saved
constexpr uint64_t kMostStepBytes = uint64_t(64) << 20;  // loaded in one step
constexpr uint64_t kMostCopied = uint64_t(128) << 20;  // bytes of blocks that wait outside of them
constexpr uint64_t kMostSent = uint64_t(32) << 20;     // page-locked, of blocks on their way

// longrope turns by another table beyond the context of the first training.
bool depends_on_context(const ModelConfig& config) {
  return std::any_of(config.layers.begin(), config.layers.end(), [](const LayerSpec& layer) {
    return layer.attn.rope.scaling == RopeSpec::Scaling::longrope;
  });
}

}  // namespace

std::string kv_space_text(const Instance& instance) {
  const ModelPlan& plan = instance.plan();
  std::string text = concat("model arithmetic ", kModelArithmetic);
  for (size_t room = 0; room < plan.rooms.size(); ++room) {
    const Backend& backend = instance.backend(room);
    text += concat("; ", backend.name(), " ", backend.arithmetic(),
                   plan.rooms[room].weights_stay ? " in file" : "");
    if (plan.rooms.size() > 1) text += concat(" for ", plan.placement.text(int(room)));
  }
  text += concat("; kv ", dtype_name(instance.kv_dtype()), " of ", instance.pool().block_size(),
                 " tokens");
  const ModelConfig& config = instance.config();
  if (depends_on_context(config)) text += concat("; context ", instance.n_ctx());
  for (const LayerSpec& layer : config.layers) {
    const AttnSpec& attn = layer.attn;
    text += concat("; ", attn.n_kv_heads, "x", attn.head_dim, " ", attn.window, " ",
                   attn.rope.theta, " ", int(attn.rope.scaling), " ", attn.rope.factor);
  }
  return text;
}

struct KvStore::Shared {
  std::mutex mutex;
  std::condition_variable changed;
  std::optional<Hash128> space;
  bool decided = false;  // without a space: the file can't be read as it was

  void decide(const std::optional<Hash128>& model, std::string_view text) {
    const std::lock_guard lock(mutex);
    if (model) space = hash128(*model, std::as_bytes(std::span(text)));
    decided = true;
    changed.notify_all();
  }
};

KvStore::KvStore(Instance& instance, std::unique_ptr<DiskCache> disk)
    : instance_(&instance), shared_(std::make_shared<Shared>()), disk_(std::move(disk)) {
  instance.pool().index().record_whole();
  const uint64_t n_landings = std::clamp<uint64_t>(kMostSent / instance.block_bytes(), 1, 16);
  while (instance.runs_ahead() && landings_.size() < n_landings) {
    Result<std::unique_ptr<Landing>> made =
        instance.backend().make_landing(size_t(instance.block_bytes()));
    if (!made.ok()) break;  // fewer do too
    landings_.push_back(std::move(made).value());
  }
  sent_.reserve(landings_.size());
  const std::string text = kv_space_text(instance);
  const std::vector<StampedFile>& files = instance.files();
  if (const std::optional<Hash128> model = known_fingerprint(files, disk_->folder())) {
    shared_->decide(model, text);
    return;
  }
  disk_->run_in_background(
      [shared = shared_, files, folder = disk_->folder(), text](const std::atomic<bool>& stopping) {
        shared->decide(fingerprint(files, folder, stopping), text);
      });
}

KvStore::~KvStore() = default;

std::optional<Hash128> KvStore::space() {
  if (!space_) {
    const std::lock_guard lock(shared_->mutex);
    space_ = shared_->space;
    if (shared_->decided && !space_) forget_pending(), ended_.clear();  // it will never be known
  }
  return space_;
}

void KvStore::begin_step() {
  step_bytes_ = 0;
}

BlockSource::Answer KvStore::load(Hash128 parent, int index, std::span<const TokenId> tokens,
                                  BlockId block) {
  const std::optional<Hash128> known_space = space();
  if (!known_space) return Answer::missing;
  const uint64_t bytes = instance_->block_bytes();
  if (step_bytes_ > 0 && step_bytes_ + bytes > kMostStepBytes) return Answer::later;
  const BlockRecord record{
      .space = *known_space, .parent = parent, .index = index, .tokens = tokens};
  try {
    const std::optional<DiskCache::Found> found = disk_->find(record, size_t(bytes));
    if (!found) return Answer::missing;
    instance_->write_block(block, found->payload);
    step_bytes_ += bytes;
    return Answer::loaded;
  } catch (const std::bad_alloc&) {
    return Answer::missing;
  }
}

int KvStore::load_tail(Hash128 parent, int index, std::span<const TokenId> tokens, BlockId block) {
  const std::optional<Hash128> known_space = space();
  if (!known_space) return 0;
  try {
    const std::optional<DiskCache::FoundTail> tail =
        disk_->find_tail({.space = *known_space, .parent = parent, .index = index, .tokens = {}},
                         size_t(instance_->block_bytes()));
    if (!tail || tail->tokens.size() >= size_t(instance_->pool().block_size())) return 0;
    const auto end =
        std::mismatch(tail->tokens.begin(), tail->tokens.end(), tokens.begin(), tokens.end()).first;
    if (end != tail->tokens.begin()) instance_->write_block(block, tail->found.payload);
    return int(end - tail->tokens.begin());
  } catch (const std::bad_alloc&) {
    return 0;
  }
}

void KvStore::save_end(std::span<const TokenId> computed) {
  if (computed.size() % size_t(instance_->pool().block_size()) == 0) return;
  if (ended_.size() == kMostEnded) ended_.pop_front();
  try {
    ended_.emplace_back(computed.begin(), computed.end());
  } catch (const std::bad_alloc&) {  // then its end will be computed again
  }
}

// Where the cache still has it.
void KvStore::save_tail(std::span<const TokenId> computed, const Hash128& known_space) {
  const BlockPool& pool = instance_->pool();
  const PrefixIndex& known = pool.index();
  const size_t size = size_t(pool.block_size()), n_whole = computed.size() / size;
  const std::span<const TokenId> tail = computed.subspan(n_whole * size);
  BlockId last = PrefixIndex::kRoot;
  for (size_t i = 0; i < n_whole; ++i) {
    last = known.find(last, computed.subspan(i * size, size));
    if (last < 0) return;
  }
  const PrefixMatch match = known.find_beginning(last, tail);
  const bool exact =
      match.n_tokens == int(tail.size()) && known.n_tokens(match.block) == match.n_tokens;
  if (!exact || !in_memory(match.block)) return;
  try {
    hand_over({.block = match.block,
               .key = {},
               .parent = known.key(last),
               .index = int(n_whole),
               .tokens = {tail.begin(), tail.end()},
               .is_tail = true},
              known_space);
  } catch (const std::bad_alloc&) {  // then it will be computed again
  }
}

// For one block more, on the disk's side and on the way there.
bool KvStore::has_room() const {
  if (!landings_.empty() && sent_.size() == landings_.size()) return false;
  return disk_->has_room((1 + sent_.size()) * size_t(instance_->block_bytes()));
}

void KvStore::save() {
  const std::optional<Hash128> known_space = space();
  if (known_space) hand_over_sent(*known_space);
  collect();
  while (known_space && !pending_.empty() && has_room()) {
    Pending next = std::move(pending_.front());
    pending_.pop_front();
    copied_bytes_ -= next.payload.size();
    try {
      save(std::move(next), *known_space);
    } catch (const std::bad_alloc&) {  // without this block: what follows it is of no use
      forget_pending();
    }
  }
  while (known_space && !ended_.empty() && has_room()) {
    save_tail(ended_.front(), *known_space);
    ended_.pop_front();
  }
  copy_out();
}

// What became whole since the last time. Of a block only what it holds now can still be read, and
// one copy of the same tokens is enough: so there is an entry for each block and each copy at most.
void KvStore::collect() {
  PrefixIndex& index = instance_->pool().index();
  try {
    index.take_whole(new_blocks_);
    for (const BlockId block : new_blocks_) {
      if (index.n_tokens(block) < instance_->pool().block_size()) continue;  // gone again
      const Hash128 key = index.key(block);
      std::erase_if(pending_, [&](const Pending& waiting) {
        return waiting.payload.empty() && waiting.block == block;
      });
      const auto is_copy = [&](const Pending& waiting) {
        return !waiting.payload.empty() && waiting.key == key;
      };
      if (std::any_of(pending_.begin(), pending_.end(), is_copy)) continue;
      const std::span<const TokenId> tokens = index.tokens(block);
      pending_.push_back({.block = block,
                          .key = key,
                          .parent = index.key(index.parent(block)),
                          .index = index.index(block),
                          .tokens = {tokens.begin(), tokens.end()}});
    }
  } catch (const std::bad_alloc&) {  // as for one that can't be saved
    forget_pending();
  }
}

void KvStore::save(Pending wanted, const Hash128& known_space) {
  if (wanted.payload.empty() && !readable(wanted)) return;
  if (!disk_->contains(wanted.record(known_space))) hand_over(std::move(wanted), known_space);
}

// What is still in its block can be read. A copy waits for those in front of it: they may not
// arrive.
void KvStore::hand_over(Pending wanted, const Hash128& known_space) {
  const bool sends = wanted.payload.empty() && !landings_.empty();
  if (sends) instance_->send_block(wanted.block, *landings_[sent_.size()]);
  if (sends || !sent_.empty()) {
    sent_.push_back(std::move(wanted));
    return;
  }
  // Without this block what follows it is of no use.
  if (wanted.payload.empty() && !read(wanted)) return forget_pending();
  disk_->store(wanted.record(known_space), std::move(wanted.payload));
}

// The steps in front of them have been waited for since.
void KvStore::hand_over_sent(const Hash128& known_space) {
  for (size_t i = 0; i < sent_.size(); ++i) {
    if (store_sent(i, known_space)) continue;
    forget_pending();  // without this block what follows it is of no use
    break;
  }
  sent_.clear();
}

// False when the device has failed, or there is no memory.
bool KvStore::store_sent(size_t i, const Hash128& known_space) {
  Pending& sent = sent_[i];
  try {
    if (sent.payload.empty()) {
      const Result<std::span<const std::byte>> arrived = landings_[i]->wait();
      if (!arrived.ok()) return false;
      sent.payload.assign(arrived.value().begin(), arrived.value().end());
    }
    disk_->store(sent.record(known_space), std::move(sent.payload));
    return true;
  } catch (const std::bad_alloc&) {
    return false;
  }
}

// What can't be saved yet. A gap would make all blocks behind it useless, so the first ones that
// wait are copied, not the latest.
void KvStore::copy_out() {
  if (instance_->pool().window() == 0) return;
  const uint64_t bytes = instance_->block_bytes();
  for (Pending& waiting : pending_) {
    if (!waiting.payload.empty() || !readable(waiting)) continue;
    if (copied_bytes_ + bytes > kMostCopied) return;
    try {
      if (!read(waiting)) return;  // whoever hands it over finds that out too
    } catch (const std::bad_alloc&) {
      return;
    }
    copied_bytes_ += bytes;
  }
}

// False, and without a payload, when the device has failed: it delivers anything.
bool KvStore::read(Pending& wanted) {
  wanted.payload.resize(size_t(instance_->block_bytes()));
  const bool arrived = instance_->read_block(wanted.block, wanted.payload).ok();
  if (!arrived) wanted.payload.clear();
  return arrived;
}

void KvStore::forget_pending() {
  pending_.clear();
  copied_bytes_ = 0;
}

// Whether the block is still what became whole, in layers with a window too.
bool KvStore::readable(const Pending& wanted) const {
  const BlockPool& pool = instance_->pool();
  return pool.index().n_tokens(wanted.block) == pool.block_size() &&
         pool.index().key(wanted.block) == wanted.key && in_memory(wanted.block);
}

// Layers with a window included.
bool KvStore::in_memory(BlockId block) const {
  const BlockPool& pool = instance_->pool();
  return pool.window() == 0 || pool.pages().of(block) >= 0;
}

void KvStore::wait_for_space(Clock::time_point end) {
  std::unique_lock lock(shared_->mutex);
  shared_->changed.wait_until(lock, end, [&] { return shared_->decided; });
}

void KvStore::finish(double seconds) {
  const Clock::time_point end = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                                   std::chrono::duration<double>(seconds));
  save();
  if (!saving()) return;
  wait_for_space(end);
  for (save(); space() && saving() && Clock::now() < end; save()) disk_->flush(0.005);
}

}  // namespace lm
