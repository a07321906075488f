#include "engine/core/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "engine/core/text.h"

namespace lm {
namespace {

Error io_error(const std::filesystem::path& path, std::string_view doing, int error) {
  constexpr std::array kWrongPath = {ENOENT, EACCES, EISDIR, ENOTDIR, ELOOP, ENAMETOOLONG};
  const bool wrong_path =
      std::find(kWrongPath.begin(), kWrongPath.end(), error) != kWrongPath.end();
  const ErrorCode code = error == ENOMEM ? ErrorCode::out_of_memory
                         : wrong_path    ? ErrorCode::bad_file
                                         : ErrorCode::io;
  return Error{code, concat("cannot ", doing, " ", printable(path.native(), 1000), ": ",
                            std::strerror(error))};
}

// Of a file that is open: its path was right.
Error write_error(const std::filesystem::path& path) {
  return Error{ErrorCode::io, io_error(path, "write", errno).message};
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() { close_now(); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  int close_now() { return fd_ < 0 ? 0 : ::close(std::exchange(fd_, -1)); }

 private:
  int fd_;
};

}  // namespace

struct MappedFile::Impl {
  std::filesystem::path path;
  void* base = nullptr;
  size_t bytes = 0;

  Impl() = default;
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl() {
    if (base != nullptr) munmap(base, bytes);
  }
};

Result<MappedFile> MappedFile::open(const std::filesystem::path& path) {
  const Descriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (fd.get() < 0) return io_error(path, "open", errno);
  struct stat info {};
  if (fstat(fd.get(), &info) != 0) return io_error(path, "look at", errno);
  if (S_ISDIR(info.st_mode)) return io_error(path, "open", EISDIR);
  if (!S_ISREG(info.st_mode)) {
    return Error{ErrorCode::bad_file, concat("expected a regular file, found a pipe or device: ",
                                             printable(path.native(), 1000))};
  }
  auto impl = std::make_shared<Impl>();
  impl->path = path;
  impl->bytes = size_t(info.st_size);
  if (impl->bytes > 0) {  // an empty file can't be mapped, and needs no memory
    void* base = mmap(nullptr, impl->bytes, PROT_READ, MAP_PRIVATE, fd.get(), 0);
    if (base == MAP_FAILED) return io_error(path, "map", errno);
    impl->base = base;
  }
  MappedFile file;
  file.impl_ = std::move(impl);
  return file;
}

std::span<const std::byte> MappedFile::bytes() const {
  return {static_cast<const std::byte*>(impl_->base), impl_->bytes};
}

const std::filesystem::path& MappedFile::path() const {
  return impl_->path;
}

void MappedFile::release(std::span<const std::byte> part) const {
  const auto page = uintptr_t(sysconf(_SC_PAGESIZE));
  const uintptr_t first = (reinterpret_cast<uintptr_t>(part.data()) + page - 1) & ~(page - 1);
  const uintptr_t last = reinterpret_cast<uintptr_t>(part.data() + part.size()) & ~(page - 1);
  if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

std::filesystem::path folder_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : ".";
}

Result<std::string> read_file(const std::filesystem::path& path, uint64_t max_bytes) {
  const Descriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) return io_error(path, "open", errno);
  std::string text;
  std::vector<char> chunk(1 << 16);
  for (;;) {
    const ssize_t n = ::read(fd.get(), chunk.data(), chunk.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return io_error(path, "read", errno);
    if (n == 0) return text;
    if (text.size() + size_t(n) > max_bytes) {
      return Error{ErrorCode::bad_file, concat("expected at most ", max_bytes, " bytes in ",
                                               printable(path.native(), 1000))};
    }
    text.append(chunk.data(), size_t(n));
  }
}

namespace {

// Short, for a target may have the longest name that there can be.
std::string temporary_name(const std::filesystem::path& folder, std::string_view end) {
  return (folder / concat(".llm.", end)).native();
}

bool link_to(const std::string& name, int fd) {
  const std::string self = concat("/proc/self/fd/", fd);
  return linkat(AT_FDCWD, self.c_str(), AT_FDCWD, name.c_str(), AT_SYMLINK_FOLLOW) == 0;
}

// The temporary name that a file without one got; "": none, and errno says why.
std::string link_temporary(const std::filesystem::path& folder, int fd) {
  for (int i = 0; i < 1000; ++i) {
    std::string name = temporary_name(folder, concat(getpid(), '.', i));
    if (link_to(name, fd)) return name;
    if (errno != EEXIST) break;
  }
  return "";
}

// A file that is in no folder yet, and so gone with the process, however that ends. -1 where the
// file system has none, or where one would stay without a name: some systems, sandboxes above all,
// refuse links, and what only the end of a long work shows must not be found out there.
int open_nameless(const std::filesystem::path& folder) {
  const auto open = [&] { return ::open(folder.c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600); };
  const Descriptor trial(open());
  if (trial.get() < 0) return -1;
  const std::string name = link_temporary(folder, trial.get());
  if (name.empty()) return -1;
  ::unlink(name.c_str());
  return open();  // another one: a file whose last name went can't get a new one
}

}  // namespace

struct FileWriter::Impl {
  std::filesystem::path path;
  std::string temporary;  // empty: `path` is a device or pipe and is written directly
  Descriptor fd;
  uint64_t size = 0;
  std::vector<std::byte> buffer;

  bool nameless = false;  // until give_name()

  Impl(std::filesystem::path target, std::string temporary_name, int descriptor)
      : path(std::move(target)), temporary(std::move(temporary_name)), fd(descriptor) {}
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl() {
    if (!temporary.empty()) ::unlink(temporary.c_str());
  }

  Status write_through(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::write(fd.get(), bytes.data(), bytes.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return write_error(path);
      bytes = bytes.subspan(size_t(n));
    }
    return ok();
  }

  // Its own name at once, or one to be renamed where there is a file, whose place no link can take.
  Status give_name() {
    if (!link_to(path.native(), fd.get())) {
      if (errno == EEXIST) temporary = link_temporary(folder_of(path), fd.get());
      if (temporary.empty()) return write_error(path);
    }
    nameless = false;
    return ok();
  }

  Status flush() {
    Status status = write_through(buffer);
    buffer.clear();
    return status;
  }
};

FileWriter::FileWriter(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
FileWriter::FileWriter(FileWriter&&) noexcept = default;
FileWriter& FileWriter::operator=(FileWriter&&) noexcept = default;
FileWriter::~FileWriter() = default;

Result<FileWriter> FileWriter::create(const std::filesystem::path& named) {
  // Behind a link it is the file that is replaced, not the link.
  std::error_code failed;
  std::filesystem::path path = std::filesystem::is_symlink(named, failed)
                                   ? std::filesystem::canonical(named, failed)
                                   : named;
  if (failed) path = named;
  struct stat info {};
  const bool exists = stat(path.c_str(), &info) == 0;
  if (!exists && errno != ENOENT) return io_error(path, "create", errno);
  if (exists && S_ISDIR(info.st_mode)) return io_error(path, "write", EISDIR);
  if (exists && !S_ISREG(info.st_mode)) {  // "/dev/null", a named pipe: there is nothing to replace
    const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
    if (fd < 0) return io_error(path, "write", errno);
    return FileWriter(std::make_unique<Impl>(path, std::string(), fd));
  }
  const std::filesystem::path folder = folder_of(path);
  int fd = open_nameless(folder);
  const bool nameless = fd >= 0;
  std::string temporary;
  if (!nameless) {
    temporary = temporary_name(folder, "XXXXXX");
    fd = mkostemp(temporary.data(), O_CLOEXEC);
  }
  if (fd < 0) return io_error(path, "create", errno);
  const mode_t mask = umask(0);
  umask(mask);
  const mode_t mode = exists ? info.st_mode & 0777 : 0666 & ~mask;
  auto impl = std::make_unique<Impl>(path, std::move(temporary), fd);
  impl->nameless = nameless;
  if (fchmod(fd, mode) != 0) return io_error(path, "create", errno);
  return FileWriter(std::move(impl));
}

Status FileWriter::write(std::span<const std::byte> bytes) {
  constexpr size_t kBuffer = 1 << 20;
  impl_->size += bytes.size();
  if (impl_->buffer.size() + bytes.size() > kBuffer) LM_TRY(impl_->flush());
  if (bytes.size() > kBuffer) return impl_->write_through(bytes);
  impl_->buffer.insert(impl_->buffer.end(), bytes.begin(), bytes.end());
  return ok();
}

Status FileWriter::write(std::string_view text) {
  return write(std::as_bytes(std::span(text)));
}

uint64_t FileWriter::size() const {
  return impl_->size;
}

Status FileWriter::commit(Sync sync) {
  LM_TRY(impl_->flush());
  const bool is_file = impl_->nameless || !impl_->temporary.empty();
  if (sync == Sync::yes && is_file && fsync(impl_->fd.get()) != 0) return write_error(impl_->path);
  const bool linked = impl_->nameless;
  if (linked) LM_TRY(impl_->give_name());
  if (impl_->fd.close_now() != 0) {
    Error error = write_error(impl_->path);
    if (linked && impl_->temporary.empty()) ::unlink(impl_->path.c_str());
    return error;
  }
  if (impl_->temporary.empty()) return ok();
  if (::rename(impl_->temporary.c_str(), impl_->path.c_str()) != 0) return write_error(impl_->path);
  impl_->temporary.clear();
  return ok();
}

}  // namespace lm
