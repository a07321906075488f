#include "engine/kv/disk_cache.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <new>
#include <thread>

#include "engine/core/text.h"
#include "engine/core/user_folder.h"
#include "engine/kv/disk_trim.h"

namespace lm {
namespace {

constexpr size_t kMostQueued = size_t(64) << 20;  // bytes that wait to be written
constexpr uint64_t kTrimEvery = 16;  // looks at the folder after a 16th of the budget was written

Error folder_error(const std::filesystem::path& folder, std::string_view what, int number) {
  return {ErrorCode::io, concat("cannot ", what, " the cache folder ",
                                printable(folder.native(), 1000), ": ", std::strerror(number))};
}

// A folder that is ours and that nobody else can look into.
Status make_private(const std::filesystem::path& folder) {
  if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) {
    return folder_error(folder, "make", errno);
  }
  struct stat info {};
  if (::lstat(folder.c_str(), &info) != 0) return folder_error(folder, "look at", errno);
  if (!S_ISDIR(info.st_mode) || info.st_uid != geteuid()) {
    return Error{ErrorCode::io, concat("expected a folder of this user for the cache, found ",
                                       printable(folder.native(), 1000))};
  }
  if ((info.st_mode & 0077) != 0 && ::chmod(folder.c_str(), 0700) != 0) {
    return folder_error(folder, "protect", errno);
  }
  return ok();
}

struct Job {
  Hash128 space, parent;
  int index;
  std::vector<TokenId> tokens;
  bool is_tail;
  std::vector<std::byte> payload;

  BlockRecord record() const {
    return {.space = space, .parent = parent, .index = index, .tokens = tokens, .is_tail = is_tail};
  }
};

}  // namespace

std::filesystem::path cache_folder(const char* xdg_cache_home, const char* home) {
  return user_folder(xdg_cache_home, home, ".cache");
}

struct DiskCache::Impl {
  std::filesystem::path folder, blocks;
  uint64_t byte_budget;

  mutable std::mutex mutex;  // of what follows
  std::condition_variable changed;
  std::deque<Job> queue;
  std::deque<std::function<void(const std::atomic<bool>&)>> others;
  size_t queued_bytes = 0;
  bool writing = false;
  std::atomic<bool> stopping{false};
  std::thread thread;

  // The thread's own.
  uint64_t written = 0;  // since the last look at the folder
  bool failed = false;   // the disk is full, or gone: nothing more is written

  std::filesystem::path path_of(const BlockRecord& record) const;
  void run();
  void write(const Job& job);
  Status write_file(const Job& job) const;
  void trim();
};

std::filesystem::path DiskCache::Impl::path_of(const BlockRecord& record) const {
  // A tail is looked for by what it follows; its tokens are in the file.
  const Hash128 name = record.is_tail ? PrefixIndex::chain_key(record.parent, {}) : record.key();
  return blocks / hex(record.space) / concat(hex(name), "-", record.index);
}

// Waits for work; what was stored is written even when the end has come.
void DiskCache::Impl::run() {
  trim();
  std::unique_lock lock(mutex);
  for (;;) {
    changed.wait(lock, [&] { return stopping || !queue.empty() || !others.empty(); });
    if (!queue.empty()) {
      const Job job = std::move(queue.front());
      queue.pop_front();
      writing = true;
      lock.unlock();
      write(job);
      lock.lock();
      writing = false;
      queued_bytes -= job.payload.size();
      changed.notify_all();
    } else if (stopping) {
      return;
    } else {
      const auto job = std::move(others.front());
      others.pop_front();
      lock.unlock();
      job(stopping);
      lock.lock();
    }
  }
}

void DiskCache::Impl::write(const Job& job) {
  if (failed) return;
  try {
    failed = !write_file(job).ok();
  } catch (const std::bad_alloc&) {
    failed = true;
  }
  written += job.payload.size();
  if (failed || written >= byte_budget / kTrimEvery) trim();
}

void DiskCache::Impl::trim() {
  try {
    trim_blocks(blocks, byte_budget);
    written = 0;
  } catch (const std::bad_alloc&) {
    failed = true;  // a folder that can't be kept small must not grow
  }
}

Status DiskCache::Impl::write_file(const Job& job) const {
  const BlockRecord record = job.record();
  const std::filesystem::path path = path_of(record);
  LM_TRY(make_private(path.parent_path()));
  FileWriter writer = LM_TRY(FileWriter::create(path));
  LM_TRY(writer.write(block_file_head(record, job.payload)));
  LM_TRY(writer.write(job.payload));
  return writer.commit(FileWriter::Sync::no);
}

DiskCache::DiskCache(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

DiskCache::~DiskCache() {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->stopping = true;
    impl_->changed.notify_all();
  }
  impl_->thread.join();
}

Result<std::unique_ptr<DiskCache>> DiskCache::open(DiskCacheOptions options) {
  if (options.folder.empty()) {
    return Error{ErrorCode::io, "expected a cache folder, found neither HOME nor XDG_CACHE_HOME"};
  }
  std::error_code failed;
  std::filesystem::create_directories(options.folder.parent_path(), failed);
  auto impl = std::make_unique<Impl>();
  impl->folder = options.folder;
  impl->blocks = options.folder / "kv";
  impl->byte_budget = options.byte_budget;
  LM_TRY(make_private(impl->folder));
  LM_TRY(make_private(impl->blocks));
  Impl* self = impl.get();
  impl->thread = std::thread([self] { self->run(); });
  return std::unique_ptr<DiskCache>(new DiskCache(std::move(impl)));
}

std::optional<DiskCache::Found> DiskCache::find(const BlockRecord& record, size_t payload_bytes) {
  const std::filesystem::path path = impl_->path_of(record);
  Result<MappedFile> file = MappedFile::open(path);
  if (!file.ok()) return std::nullopt;
  Found found{std::move(file).value(), {}};
  const auto payload = block_file_payload(found.file.bytes(), record, payload_bytes);
  if (!payload) {  // it is of no use to anybody: the next one to compute the block writes it anew
    ::unlink(path.c_str());
    return std::nullopt;
  }
  found.payload = *payload;
  ::utimensat(AT_FDCWD, path.c_str(), nullptr, 0);
  return found;
}

std::optional<DiskCache::FoundTail> DiskCache::find_tail(BlockRecord record, size_t payload_bytes) {
  record.is_tail = true;
  std::vector<TokenId> tokens;
  {
    const Result<MappedFile> file = MappedFile::open(impl_->path_of(record));
    if (!file.ok()) return std::nullopt;
    tokens = block_file_tokens(file.value().bytes());
  }
  record.tokens = tokens;
  std::optional<Found> found = find(record, payload_bytes);
  if (!found || tokens.empty()) return std::nullopt;
  return FoundTail{std::move(tokens), std::move(*found)};
}

bool DiskCache::contains(const BlockRecord& record) const {
  return ::access(impl_->path_of(record).c_str(), F_OK) == 0;
}

bool DiskCache::has_room(size_t payload_bytes) const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->queue.empty() || impl_->queued_bytes + payload_bytes <= kMostQueued;
}

void DiskCache::store(const BlockRecord& record, std::vector<std::byte> payload) {
  Job job{record.space,   record.parent,
          record.index,   std::vector<TokenId>(record.tokens.begin(), record.tokens.end()),
          record.is_tail, std::move(payload)};
  const std::lock_guard lock(impl_->mutex);
  impl_->queued_bytes += job.payload.size();
  impl_->queue.push_back(std::move(job));
  impl_->changed.notify_all();
}

bool DiskCache::flush(double seconds) {
  std::unique_lock lock(impl_->mutex);
  return impl_->changed.wait_for(lock, std::chrono::duration<double>(seconds),
                                 [&] { return impl_->queue.empty() && !impl_->writing; });
}

void DiskCache::run_in_background(std::function<void(const std::atomic<bool>&)> job) {
  const std::lock_guard lock(impl_->mutex);
  impl_->others.push_back(std::move(job));
  impl_->changed.notify_all();
}

const std::filesystem::path& DiskCache::folder() const {
  return impl_->folder;
}

}  // namespace lm
