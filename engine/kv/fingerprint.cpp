#include "engine/kv/fingerprint.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "engine/core/file.h"
#include "engine/core/text.h"

namespace lm {
namespace {

constexpr size_t kPiece = size_t(1) << 20;  // bytes read at once

int64_t nanoseconds(const timespec& time) {
  return int64_t(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

FileStamp stamp_of(const struct stat& info) {
  return {.device = uint64_t(info.st_dev),
          .inode = uint64_t(info.st_ino),
          .bytes = uint64_t(info.st_size),
          .modified = nanoseconds(info.st_mtim),
          .changed = nanoseconds(info.st_ctim)};
}

// Adds all bytes of a file that is, and stays, what its stamp says.
bool add_file(const StampedFile& file, HashStream& stream, const std::atomic<bool>& stopping) {
  const int fd = ::open(file.path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return false;
  std::vector<std::byte> piece(kPiece);
  struct stat info {};
  bool fine = ::fstat(fd, &info) == 0 && stamp_of(info) == file.stamp;
  for (uint64_t done = 0; fine && done < file.stamp.bytes;) {
    const ssize_t n = ::read(fd, piece.data(), piece.size());
    if (n < 0 && errno == EINTR) continue;
    fine = n > 0 && !stopping;
    if (fine) stream.add(std::span(piece).first(size_t(n)));
    done += n > 0 ? uint64_t(n) : 0;
  }
  fine = fine && ::fstat(fd, &info) == 0 && stamp_of(info) == file.stamp;
  ::close(fd);
  return fine;
}

Hash128 stamps_of(std::span<const StampedFile> files) {
  Hash128 stamps;
  for (const StampedFile& file : files) {
    stamps = hash128(stamps, std::as_bytes(std::span(&file.stamp, 1)));
  }
  return stamps;
}

// What a memo file holds: the fingerprint, and a check that it was written whole.
struct Memo {
  Hash128 value, check;
};

Hash128 check_of(const Hash128& stamps, const Hash128& value) {
  return hash128(stamps, std::as_bytes(std::span(&value, 1)));
}

std::optional<Hash128> recall(const std::filesystem::path& path, const Hash128& stamps) {
  const Result<std::string> bytes = read_file(path, sizeof(Memo));
  if (!bytes.ok() || bytes.value().size() != sizeof(Memo)) return std::nullopt;
  Memo memo;
  std::memcpy(&memo, bytes.value().data(), sizeof(memo));
  if (memo.check != check_of(stamps, memo.value)) return std::nullopt;
  return memo.value;
}

Status remember(const std::filesystem::path& path, const Hash128& stamps, const Hash128& value) {
  const Memo memo{value, check_of(stamps, value)};
  FileWriter writer = LM_TRY(FileWriter::create(path));
  LM_TRY(writer.write(std::as_bytes(std::span(&memo, 1))));
  return writer.commit(FileWriter::Sync::no);
}

}  // namespace

Result<StampedFile> stamp_file(const std::filesystem::path& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) {
    return Error{ErrorCode::io, concat("cannot look at ", printable(path.native(), 1000), ": ",
                                       std::strerror(errno))};
  }
  return StampedFile{path, stamp_of(info)};
}

std::optional<Hash128> known_fingerprint(std::span<const StampedFile> files,
                                         const std::filesystem::path& folder) {
  for (const StampedFile& file : files) {
    const Result<StampedFile> now = stamp_file(file.path);
    if (!now.ok() || now.value().stamp != file.stamp) return std::nullopt;
  }
  const Hash128 stamps = stamps_of(files);
  return recall(folder / hex(stamps), stamps);
}

std::optional<Hash128> fingerprint(std::span<const StampedFile> files,
                                   const std::filesystem::path& folder,
                                   const std::atomic<bool>& stopping) {
  if (files.empty()) return std::nullopt;
  HashStream stream;
  for (const StampedFile& file : files) {
    if (!add_file(file, stream, stopping)) return std::nullopt;
  }
  // Without the memo it takes as long next time: no reason to do without the fingerprint.
  const Hash128 stamps = stamps_of(files);
  [[maybe_unused]] const Status kept = remember(folder / hex(stamps), stamps, stream.value());
  return stream.value();
}

}  // namespace lm
