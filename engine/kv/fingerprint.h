// engine/kv/fingerprint.h — what a model file is, by all of its bytes. Reading them takes long, so
// the answer is kept under the file's place, size and times, as the system tells them.
#pragma once
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>

#include "engine/core/hash.h"
#include "engine/core/result.h"

namespace lm {

// Changes whenever somebody writes to the file or puts another one in its place.
struct FileStamp {
  uint64_t device = 0, inode = 0, bytes = 0;
  int64_t modified = 0, changed = 0;  // nanoseconds
  bool operator==(const FileStamp&) const = default;
};

struct StampedFile {
  std::filesystem::path path;
  FileStamp stamp;
};
Result<StampedFile> stamp_file(const std::filesystem::path& path);

// Of the files together (a model may have parts), when it was found out before and remembered in
// `folder`: that takes no time.
std::optional<Hash128> known_fingerprint(std::span<const StampedFile> files,
                                         const std::filesystem::path& folder);
// Reads the files and remembers. nullopt when one is not what it was when it was stamped, can't be
// read, or `stopping`.
std::optional<Hash128> fingerprint(std::span<const StampedFile> files,
                                   const std::filesystem::path& folder,
                                   const std::atomic<bool>& stopping);

}  // namespace lm
