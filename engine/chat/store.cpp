#include "engine/chat/store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <utility>

#include "engine/core/file.h"
#include "engine/core/text.h"
#include "engine/core/user_folder.h"

namespace lm::chat {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSuffix = ".jsonl";
constexpr mode_t kOwnerOnly = 0600, kOwnerOnlyFolder = 0700;
constexpr int kMaxNamesakes = 1000;  // conversations that begin in the same second

Error io_error(std::string_view doing, const fs::path& path) {
  return Error{ErrorCode::io, concat("cannot ", doing, " ", printable(path.native(), 1000), ": ",
                                     std::strerror(errno))};
}

// The folder and what is missing above it. Only our own two are closed to others.
Status make_folder(const fs::path& folder) {
  std::error_code failed;
  fs::create_directories(folder.parent_path().parent_path(), failed);
  for (const fs::path& path : {folder.parent_path(), folder}) {
    if (mkdir(path.c_str(), kOwnerOnlyFolder) != 0 && errno != EEXIST)
      return io_error("create", path);
  }
  return ok();
}

bool is_id(std::string_view text) {
  return !text.empty() && text.size() < 64 && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= '0' && c <= '9') || c == '-';
  });
}

std::string local_time(const char* format) {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  localtime_r(&now, &parts);
  std::array<char, 64> text{};
  return std::string(text.data(), std::strftime(text.data(), text.size(), format, &parts));
}

Error open_elsewhere(const fs::path& path) {
  return Error{ErrorCode::bad_request,
               concat("expected a conversation that is not in use, found ",
                      printable(path.native(), 1000), " open in another terminal")};
}

std::string first_question(const Conversation& conversation) {
  return conversation.empty() ? std::string() : conversation.messages().front().content;
}

}  // namespace

fs::path data_folder(const char* xdg_data_home, const char* home) {
  return user_folder(xdg_data_home, home, ".local/share");
}

std::string time_text() {
  return local_time("%Y-%m-%d %H:%M:%S");
}

struct ConversationFile::Impl {
  fs::path path;
  int fd;

  Impl(fs::path p, int descriptor) : path(std::move(p)), fd(descriptor) {}
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl() { ::close(fd); }
};

ConversationFile::ConversationFile(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ConversationFile::ConversationFile(ConversationFile&&) noexcept = default;
ConversationFile& ConversationFile::operator=(ConversationFile&&) noexcept = default;
ConversationFile::~ConversationFile() = default;

const fs::path& ConversationFile::path() const {
  return impl_->path;
}

std::string ConversationFile::id() const {
  return impl_->path.stem().native();
}

Status ConversationFile::append(std::string_view lines) {
  const off_t before = lseek(impl_->fd, 0, SEEK_END);
  while (!lines.empty()) {
    const ssize_t n = ::write(impl_->fd, lines.data(), lines.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      Error error = io_error("write", impl_->path);
      (void)!ftruncate(impl_->fd, before);
      return error;
    }
    lines.remove_prefix(size_t(n));
  }
  return ok();
}

Result<ConversationFile> Store::create(std::string_view created) const {
  LM_TRY(make_folder(folder_));
  const std::string stamp = local_time("%Y%m%d-%H%M%S");
  for (int i = 0; i < kMaxNamesakes; ++i) {
    const std::string id = i == 0 ? stamp : concat(stamp, "-", i);
    const fs::path path = folder_ / (id + std::string(kSuffix));
    const int fd =
        ::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_EXCL | O_CLOEXEC, kOwnerOnly);
    if (fd < 0 && errno == EEXIST) continue;
    if (fd < 0) return io_error("create", path);
    ConversationFile file(std::make_unique<ConversationFile::Impl>(path, fd));
    flock(fd, LOCK_EX | LOCK_NB);
    LM_TRY(file.append(header_line(created)));
    return file;
  }
  errno = EEXIST;
  return io_error("create", folder_ / stamp);
}

Result<Opened> Store::open(std::string_view id) const {
  const fs::path path = folder_ / (std::string(id) + std::string(kSuffix));
  const int fd = is_id(id) ? ::open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC) : -1;
  if (fd < 0) {
    return Error{ErrorCode::bad_request,
                 concat("expected one of the kept conversations, found \"", printable(id), "\"")};
  }
  ConversationFile file(std::make_unique<ConversationFile::Impl>(path, fd));
  if (flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) return open_elsewhere(path);
  Result<Transcript> transcript = read_transcript(LM_TRY(read_file(path, kMaxTranscriptBytes)));
  if (!transcript.ok()) return std::move(transcript).error().within(printable(path.native(), 1000));
  struct stat info {};
  const bool cut_off =
      fstat(fd, &info) == 0 && size_t(info.st_size) > transcript.value().whole_bytes;
  if (cut_off && ftruncate(fd, off_t(transcript.value().whole_bytes)) != 0) {
    return io_error("write", path);
  }
  return Opened{std::move(file), std::move(transcript).value()};
}

Result<std::vector<std::string>> Store::ids() const {
  std::vector<std::pair<fs::file_time_type, std::string>> found;
  std::error_code failed;
  for (fs::directory_iterator at(folder_, failed), end; !failed && at != end;
       at.increment(failed)) {
    const fs::path& path = at->path();
    if (path.extension() != kSuffix || !is_id(path.stem().native())) continue;
    std::error_code gone;
    const fs::file_time_type changed = fs::last_write_time(path, gone);
    if (!gone) found.emplace_back(changed, path.stem().native());
  }
  if (failed && failed != std::errc::no_such_file_or_directory) {
    return Error{ErrorCode::io,
                 concat("cannot read ", printable(folder_.native(), 1000), ": ", failed.message())};
  }
  std::sort(found.begin(), found.end());
  std::vector<std::string> result;
  result.reserve(found.size());
  for (auto& [changed, id] : found) result.push_back(std::move(id));
  return result;
}

Result<std::string> Store::newest() const {
  const std::vector<std::string> all = LM_TRY(ids());
  if (!all.empty()) return all.back();
  return Error{ErrorCode::bad_request, concat("expected a conversation to continue, found none in ",
                                              printable(folder_.native(), 1000))};
}

Result<std::vector<Listed>> Store::list() const {
  std::vector<Listed> listed;
  for (const std::string& id : LM_TRY(ids())) {
    Listed& entry = listed.emplace_back();
    entry.id = id;
    Result<std::string> text =
        read_file(folder_ / (id + std::string(kSuffix)), kMaxTranscriptBytes);
    Result<Transcript> transcript =
        text.ok() ? read_transcript(text.value()) : Result<Transcript>(text.error());
    if (!transcript.ok()) {
      entry.damage = transcript.error().message;
      continue;
    }
    const Conversation& conversation = transcript.value().conversation;
    entry.created = transcript.value().created;
    entry.title = first_question(conversation);
    entry.n_messages = conversation.messages().size();
  }
  return listed;
}

}  // namespace lm::chat
