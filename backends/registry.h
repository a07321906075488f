// backends/registry.h — which backends this executable was built with. main() fills a Registry and
// hands it down, so that no room but main knows them all.
#pragma once
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backends/backend.h"
#include "engine/core/result.h"
#include "engine/core/thread_pool.h"

namespace lm {

struct BackendOptions {
  int n_threads = 0;  // 0: every usable core
  std::string isa;    // CPU instruction set to force; empty: the best
  // Of several backends that never compute at once: their threads, in place of n_threads own ones.
  std::shared_ptr<ThreadPool> threads{};
  bool record_steps = true;     // a device that can record a step and replay it may do so
  bool overlap_kernels = true;  // a device may begin a kernel before the one in front has ended
  bool run_ahead = true;  // one that computes beside the host may guess what this has yet to draw
  // A device of compute capability 9.0 may use its own matrix products. Not by default: no device
  // has run them yet, and a mistake in their barriers would hang.
  bool wgmma = false;
};

struct DeviceInfo {
  std::string name;         // "cpu", "cuda:0": what --device takes
  std::string description;  // the processor's or the card's own name
  uint64_t memory_bytes = 0;
  std::string unavailable;  // why it can't be used; empty when it can
  bool present = true;      // false: there is nothing here that anybody would expect to be used
};

struct BackendEntry {
  std::string_view kind;                // "cpu", "cuda"
  std::vector<std::string> (*names)();  // of its devices, of those too that can't be used
  // Looks at the device of one of these names, which may take a while, and memory of the device.
  DeviceInfo (*describe)(std::string_view name);
  Result<std::unique_ptr<Backend>> (*open)(std::string_view device, const BackendOptions& options);
  // What Backend::reserve(limits) will take of a device's own memory; nullptr: it has none.
  uint64_t (*scratch_bytes)(const StepLimits& limits) = nullptr;
  // Likewise Backend::load_weight(), of a weight that lies inside a file.
  uint64_t (*weight_bytes)(const WeightShape& weight) = nullptr;
};

std::vector<DeviceInfo> describe_all(const BackendEntry& entry);

struct FoundDevice {
  const BackendEntry* entry;  // of the registry
  DeviceInfo info;            // it can be used
};

class Registry {
 public:
  void add(const BackendEntry& entry) { entries_.push_back(entry); }
  std::span<const BackendEntry> entries() const { return entries_; }
  // `device`: "auto" (the first entry with a usable device), a kind ("cuda"), or a name ("cuda:0").
  Result<FoundDevice> find(std::string_view device) const;
  Result<std::unique_ptr<Backend>> open(std::string_view device,
                                        const BackendOptions& options) const;

 private:
  std::vector<BackendEntry> entries_;
};

}  // namespace lm
