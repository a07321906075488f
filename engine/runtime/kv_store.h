// engine/runtime/kv_store.h — carries KV blocks between an instance and a disk cache. Nothing is
// read or written before it is known which model this is: that is found out in the background.
#pragma once
#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/kv/block_source.h"
#include "engine/kv/disk_cache.h"
#include "engine/runtime/instance.h"

namespace lm {

// Everything but the file's bytes that decides what K and V are of given tokens, as a text.
std::string kv_space_text(const Instance& instance);

class KvStore final : public BlockSource {
 public:
  KvStore(Instance& instance, std::unique_ptr<DiskCache> disk);
  ~KvStore() override;

  // The engine thread's. A step loads a bounded number of bytes, so that others go on meanwhile.
  void begin_step();
  Answer load(Hash128 parent, int index, std::span<const TokenId> tokens, BlockId block) override;
  int load_tail(Hash128 parent, int index, std::span<const TokenId> tokens, BlockId block) override;
  // A sequence with these tokens computed has ended, and its blocks went back to the pool: hands
  // over the last one, if it is not whole, as soon as save() can.
  void save_end(std::span<const TokenId> computed);
  // Hands over what became whole since the last time, for as much as the disk keeps up with. What
  // is evicted before that, and was not copied, is not saved. Called after every step: what layers
  // with a window computed in it is copied, if it must wait, because they need its memory in the
  // next. Where steps run ahead a block is sent for behind those that were launched, and handed
  // over the next time: for that nobody waits. Only so many are on their way at once; the others
  // wait for their turn, and what is copied meanwhile waits for all that was launched.
  void save();
  bool saving() const {  // save() has more to do
    return !pending_.empty() || !sent_.empty() || !ended_.empty();
  }
  // Saves the rest, for so long at most.
  void finish(double seconds);

 private:
  // A block, whole or the end of a text, and what it is a record of. With a payload it doesn't
  // matter any more what has become of the block.
  struct Pending {
    BlockId block;
    Hash128 key, parent;
    int index;
    std::vector<TokenId> tokens;
    std::vector<std::byte> payload{};  // empty: still to be read from the block
    bool is_tail = false;

    BlockRecord record(const Hash128& space) const {
      return {space, parent, index, tokens, is_tail};
    }
  };
  struct Shared;  // with the thread that finds out which model this is

  using Clock = std::chrono::steady_clock;

  std::optional<Hash128> space();
  void wait_for_space(Clock::time_point end);
  void collect();
  void save(Pending wanted, const Hash128& space);
  void hand_over(Pending wanted, const Hash128& space);
  void hand_over_sent(const Hash128& space);
  bool store_sent(size_t i, const Hash128& space);
  bool has_room() const;
  void copy_out();
  bool read(Pending& wanted);
  void forget_pending();
  bool readable(const Pending& wanted) const;
  bool in_memory(BlockId block) const;
  void save_tail(std::span<const TokenId> computed, const Hash128& space);

  Instance* instance_;
  std::shared_ptr<Shared> shared_;
  std::unique_ptr<DiskCache> disk_;
  std::optional<Hash128> space_;
  uint64_t step_bytes_ = 0;
  // Of blocks on their way, sent_[i] into landings_[i] if it has no payload yet. Without landings
  // they are read at once.
  std::vector<std::unique_ptr<Landing>> landings_;
  std::vector<Pending> sent_;
  std::deque<Pending> pending_;
  uint64_t copied_bytes_ = 0;  // in pending_
  std::deque<std::vector<TokenId>> ended_;
  std::vector<BlockId> new_blocks_;
};

}  // namespace lm
