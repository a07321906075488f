#include "engine/cli/external_editor.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "engine/core/file.h"
#include "engine/core/text.h"

namespace lm::cli {
namespace {

constexpr uint64_t kMaxEditedBytes = 16 << 20;

std::string editor_command() {
  for (const char* variable : {"VISUAL", "EDITOR"}) {
    const char* value = std::getenv(variable);
    if (value != nullptr && *value != '\0') return value;
  }
  return "vi";
}

// A file that only its owner can read, gone with the object.
class TemporaryFile {
 public:
  explicit TemporaryFile(std::string_view text) {
    const char* folder = std::getenv("TMPDIR");
    path_ = concat(folder != nullptr && *folder == '/' ? folder : "/tmp", "/llm-XXXXXX.md");
    fd_ = mkostemps(path_.data(), 3, O_CLOEXEC);
    while (fd_ >= 0 && !text.empty()) {
      const ssize_t n = ::write(fd_, text.data(), text.size());
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) break;
      text.remove_prefix(size_t(n));
    }
    written_ = fd_ >= 0 && text.empty();
  }
  ~TemporaryFile() {
    if (fd_ < 0) return;
    ::close(fd_);
    ::unlink(path_.c_str());
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  bool written() const { return written_; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  int fd_ = -1;
  bool written_ = false;
};

// Ctrl-C is the editor's while it runs.
class InterruptsIgnored {
 public:
  InterruptsIgnored() {
    struct sigaction ignore {};
    ignore.sa_handler = SIG_IGN;
    (void)sigaction(SIGINT, &ignore, &before_);
  }
  ~InterruptsIgnored() { (void)sigaction(SIGINT, &before_, nullptr); }
  InterruptsIgnored(const InterruptsIgnored&) = delete;
  InterruptsIgnored& operator=(const InterruptsIgnored&) = delete;

 private:
  struct sigaction before_ {};
};

// Through the shell, because the variable may hold options: sh -c 'EDITOR "$@"' EDITOR FILE.
Status run_editor(const std::string& path) {
  const InterruptsIgnored guard;
  std::string command = editor_command(), script = command + " \"$@\"", file = path;
  std::string shell = "sh", option = "-c";
  char* const arguments[] = {shell.data(),   option.data(), script.data(),
                             command.data(), file.data(),   nullptr};
  posix_spawnattr_t attributes;
  sigset_t defaults;
  sigemptyset(&defaults);
  for (const int number : {SIGINT, SIGPIPE, SIGXFSZ}) sigaddset(&defaults, number);
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
  pid_t child = -1;
  const int failed = posix_spawn(&child, "/bin/sh", nullptr, &attributes, arguments, environ);
  posix_spawnattr_destroy(&attributes);
  if (failed != 0) {
    return Error{ErrorCode::io, concat("cannot run an editor: ", std::strerror(failed))};
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return ok();
  return Error{ErrorCode::io,
               concat("expected \"", printable(command),
                      "\" to end well, found that it failed; $EDITOR names another")};
}

}  // namespace

Result<std::string> edit_externally(std::string_view text) {
  const TemporaryFile file(text);
  if (!file.written()) {
    return Error{ErrorCode::io, concat("cannot write ", file.path(), ": ", std::strerror(errno))};
  }
  LM_TRY(run_editor(file.path()));
  std::string edited = LM_TRY(read_file(file.path(), kMaxEditedBytes));
  if (edited.ends_with('\n')) edited.pop_back();
  return edited;
}

}  // namespace lm::cli
