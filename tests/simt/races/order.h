// tests/simt/races/order.h — which events of a grid a kernel has put in order.
//
// A block's barriers cut its life into epochs, in which each thread counts ticks: it ends one
// whenever it lets others know how far it has come (__syncwarp, an arrival at an mbarrier, a
// fence). What a thread knows of the ticks of others is kept for the current epoch only: a barrier
// of the block orders all that was before it. So threads that meet at nothing else cost nothing.
//
// Between blocks nothing is in order but through memory: a thread that fences and then does an
// atomic operation releases what its fence covers; who does an atomic operation at the same address
// later acquires it (no second fence is asked for: see the CUDA C++ Programming Guide, "Memory
// Fence Functions", whose example has none). After Lamport, "Time, Clocks, and the Ordering of
// Events in a Distributed System" (1978); times as one number: Flanagan and Freund, "FastTrack"
// (2009).
#pragma once
#include <cstddef>
#include <cstdint>
#include <deque>
#include <unordered_map>
#include <vector>

namespace simt {

struct Moment {
  uint64_t block : 22;
  uint64_t epoch : 18;  // barriers that the block has passed
  uint64_t actor : 12;  // a thread; then each warp's asynchronous products; then the bulk copies
                        // of each barrier in shared memory
  uint64_t tick : 12;   // of the actor, in this epoch
  bool operator==(const Moment&) const = default;
};

class Order {
 public:
  explicit Order(int n_threads);

  void begin_block(uint32_t block);
  Moment now(int thread) const {
    return {block_, epoch_, uint64_t(thread), ticks_[size_t(thread)]};
  }

  // What orders, as it happens. Barriers in shared memory are known by their address.
  void block_barrier();
  void warp_barrier(int first_thread, uint32_t mask);
  void init_barrier(const void* barrier);
  void arrive(int thread, const void* barrier);
  void end_phase(const void* barrier);
  void wait(int thread, const void* barrier);  // saw its phase end
  Moment arrival_of_copies(const void* barrier);
  // Products that a warp has issued in a group, numbered from 0; groups before `due` have ended for
  // a thread of the warp.
  Moment product(int thread, int group) const;
  void end_products(int thread, int due);
  void fence(int thread);
  void atomic(int thread, const void* at, size_t bytes, bool shared);

  // Whether what happened at `earlier` is in order before what `thread` does now; `atomic_at`: the
  // address if it was an atomic operation, else 0.
  bool is_before(Moment earlier, int thread, uintptr_t atomic_at) const;
  // Of what actors of one warp did in one tick of this block (`m`, but for the lane): the lanes
  // that are not in order before `thread`.
  uint32_t not_before_here(Moment m, uint32_t lanes, int thread) const;
  bool is_here(Moment m) const { return m.block == block_; }
  bool is_of_past_epoch(Moment m) const { return is_here(m) && m.epoch < epoch_; }
  // Whether its block has let other blocks know of it.
  bool is_released(Moment m) const;

 private:
  // Of each actor: the ticks of this epoch that are known to have ended.
  using Row = std::vector<uint16_t>;
  struct Knowledge {
    uint64_t stretch = 0;  // the epoch of the grid that it is about
    Row row;
  };
  struct SharedBarrier {
    int actor;
    uint64_t n_phases;
    Knowledge arriving, ended;
  };
  struct Fence {
    Moment when;
    Row known;  // or empty
  };
  // All of `block` before `epoch`, and of that epoch what `known` says.
  struct Release {
    uint32_t block;
    uint32_t epoch;
    Row known;
    bool covers(Moment m) const;
  };
  struct Meeting {  // place of memory where atomic operations meet
    std::deque<Release> releases;
    uint64_t n_operations = 0;
  };
  struct Acquisition {
    Moment when;  // by a thread of this block
    uintptr_t at;
    size_t bytes;
    const Meeting* meeting;
    size_t n_releases;  // that it has seen
    uint64_t n_operations;
  };

  bool is_before_here(Moment earlier, int thread) const;
  Row& row_of(int thread);
  Row& renew(Knowledge& knowledge);
  void end_tick(int thread);
  const Release* release(int thread, Meeting& at);

  int n_threads_, n_warps_;
  uint32_t block_ = 0, epoch_ = 0;
  uint64_t stretch_ = 0;  // counts the epochs of all blocks
  std::vector<uint16_t> ticks_;
  std::vector<Knowledge> knowledge_;  // of each thread
  std::unordered_map<const void*, SharedBarrier> barriers_;
  std::vector<Fence> fences_;
  std::vector<Acquisition> acquisitions_;
  std::unordered_map<const void*, Meeting> meetings_, shared_meetings_;
  std::unordered_map<uint32_t, std::vector<const Release*>> releases_;  // in memory, of each block
};

}  // namespace simt
