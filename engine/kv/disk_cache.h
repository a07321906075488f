// engine/kv/disk_cache.h — KV blocks in a folder: one file each, named by its chain of tokens, so
// that any number of processes can read and write at once. A file takes its name when it is whole;
// what is wrong with one all the same makes it a miss. Writing and clearing up happen on a thread
// of the cache's own; the files that were not used for longest go when there are too many bytes.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "engine/core/file.h"
#include "engine/core/result.h"
#include "engine/kv/block_file.h"

namespace lm {

struct DiskCacheOptions {
  std::filesystem::path folder;  // made when it is not there; only its owner may read it
  uint64_t byte_budget = uint64_t(8) << 30;  // of all files in it, whoever wrote them
};

// $XDG_CACHE_HOME/llm or ~/.cache/llm, of the values of these variables (nullptr: unset); empty
// when neither says.
std::filesystem::path cache_folder(const char* xdg_cache_home, const char* home);

class DiskCache {
 public:
  // io when the folder can't be made or used, or belongs to somebody else.
  static Result<std::unique_ptr<DiskCache>> open(DiskCacheOptions options);
  ~DiskCache();  // writes what was stored

  struct Found {
    MappedFile file;
    std::span<const std::byte> payload;  // of it, verified
  };
  // A hit counts as a use of the file.
  std::optional<Found> find(const BlockRecord& record, size_t payload_bytes);
  bool contains(const BlockRecord& record) const;  // a file with its name is there
  // The last tail that was stored behind the record's parent, and the tokens that it holds: the
  // record has none.
  struct FoundTail {
    std::vector<TokenId> tokens;
    Found found;
  };
  std::optional<FoundTail> find_tail(BlockRecord record, size_t payload_bytes);

  // Whether store() takes so many bytes now: what waits to be written is bounded.
  bool has_room(size_t payload_bytes) const;
  // Written soon. Call when has_room(). A tail takes the place of the one before.
  void store(const BlockRecord& record, std::vector<std::byte> payload);
  // Waits until everything is written, or the time is over. False: it is not.
  bool flush(double seconds);
  // Something else to be done on the cache's thread; it should look at `stopping` now and then.
  void run_in_background(std::function<void(const std::atomic<bool>& stopping)> job);

  const std::filesystem::path& folder() const;

 private:
  struct Impl;
  explicit DiskCache(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace lm
