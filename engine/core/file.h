// engine/core/file.h — files as bytes: mapped, read whole, or written all-or-nothing.
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "engine/core/result.h"

namespace lm {

// A read-only mapping of a regular file. Cheap to copy; unmapped with the last copy.
class MappedFile {
 public:
  static Result<MappedFile> open(const std::filesystem::path& path);

  std::span<const std::byte> bytes() const;
  const std::filesystem::path& path() const;

  // Tells the kernel that these bytes (inside bytes()) will not be needed again soon.
  void release(std::span<const std::byte> part) const;

 private:
  struct Impl;
  std::shared_ptr<const Impl> impl_;
};

// Where it is: "." for a bare name.
std::filesystem::path folder_of(const std::filesystem::path& path);

// The whole of a file (or pipe) of at most max_bytes.
Result<std::string> read_file(const std::filesystem::path& path, uint64_t max_bytes);

// Writes beside `path` and takes its name only in commit(): whoever looks sees the old file or the
// whole new one. Without commit() the new file is removed. It also goes with a process that is
// killed, where files can be without a name (O_TMPFILE), but for the moment in which an old file is
// replaced; what stays is called ".llm." and more.
class FileWriter {
 public:
  static Result<FileWriter> create(const std::filesystem::path& path);
  FileWriter(FileWriter&&) noexcept;
  FileWriter& operator=(FileWriter&&) noexcept;
  ~FileWriter();

  Status write(std::span<const std::byte> bytes);
  Status write(std::string_view text);
  uint64_t size() const;  // bytes written so far
  // Sync::no: a crash of the machine, unlike one of the program, may leave a damaged file.
  enum class Sync { yes, no };
  Status commit(Sync sync = Sync::yes);

 private:
  struct Impl;
  explicit FileWriter(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace lm
