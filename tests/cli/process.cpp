#include "tests/cli/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <fstream>
#include <sstream>

#include "engine/core/utf8.h"
#include "tests/reference/tiny_model.h"

extern char** environ;

namespace lm::test {
namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct Ends {
  int ours = -1, childs = -1;
};

Ends make_pipe(bool child_reads) {
  std::array<int, 2> fds{};
  REQUIRE(pipe2(fds.data(), O_CLOEXEC) == 0);
  return child_reads ? Ends{fds[1], fds[0]} : Ends{fds[0], fds[1]};
}

Ends make_terminal() {
  const int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  REQUIRE(master >= 0);
  REQUIRE(grantpt(master) == 0);
  REQUIRE(unlockpt(master) == 0);
  const int slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
  REQUIRE(slave >= 0);
  termios mode{};
  REQUIRE(tcgetattr(slave, &mode) == 0);
  mode.c_oflag &= ~tcflag_t(OPOST);  // '\n' stays '\n'
  REQUIRE(tcsetattr(slave, TCSANOW, &mode) == 0);
  return {master, slave};
}

int open_path(const std::string& path, bool for_reading) {
  const int fd = open(path.c_str(), (for_reading ? O_RDONLY : O_WRONLY) | O_CLOEXEC);
  REQUIRE(fd >= 0);
  return fd;
}

// Our end and the child's of one stream; fd 0 is the one that the child reads.
Ends open_stream(const Stream& stream, int fd, const Ends& terminal) {
  switch (stream.kind) {
    case Stream::Kind::null:
      return {-1, open("/dev/null", O_RDWR | O_CLOEXEC)};
    case Stream::Kind::pipe:
    case Stream::Kind::held_pipe:
      return make_pipe(fd == 0);
    case Stream::Kind::path:
      return {-1, open_path(stream.text, fd == 0)};
    case Stream::Kind::closed:
      return {-1, -1};
    case Stream::Kind::terminal:
      return {-1, fcntl(terminal.childs, F_DUPFD_CLOEXEC, 3)};
    case Stream::Kind::broken_pipe:
      break;
  }
  Ends ends = make_pipe(fd == 0);
  close(ends.ours);
  return {-1, ends.childs};
}

std::vector<std::string> environment_with(const std::vector<std::string>& extra) {
  std::vector<std::string> env;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const bool ours = (text.starts_with("LLM_") && !text.starts_with("LLM_CPU=")) ||
                      text.starts_with("NO_COLOR=") || text.starts_with("XDG_") ||
                      text.starts_with("HOME=");
    if (!ours) env.emplace_back(text);
  }
  static const TempDir home;  // what is kept for a user must not be kept for this one
  const auto set = [&env](const std::string& entry) {
    const std::string name = entry.substr(0, entry.find('=') + 1);
    std::erase_if(env, [&](const std::string& other) { return other.starts_with(name); });
    env.push_back(entry);
  };
  set("HOME=" + home.path().native());
  for (const std::string& entry : extra) set(entry);
  return env;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> out;
  for (std::string& text : texts) out.push_back(text.data());
  out.push_back(nullptr);
  return out;
}

}  // namespace

Process::Process(Setup setup) : setup_(std::move(setup)), deadline_(now() + setup_.limit_seconds) {
  signal(SIGPIPE, SIG_IGN);  // of the test: the child may stop reading
  const std::array<const Stream*, 3> streams{&setup_.in, &setup_.out, &setup_.err};
  Ends terminal;
  for (const Stream* stream : streams) {
    if (stream->kind == Stream::Kind::terminal && terminal.ours < 0) terminal = make_terminal();
  }
  const std::array<int*, 3> ours{&in_, &out_, &err_};
  int child[3];
  for (int fd = 0; fd < 3; ++fd) {
    const Ends ends = open_stream(*streams[size_t(fd)], fd, terminal);
    *ours[size_t(fd)] = ends.ours;
    child[fd] = ends.childs;
  }
  terminal_ = terminal.ours;
  start_child(child);
  for (const int fd : child) {
    if (fd >= 0) close(fd);
  }
  if (terminal.childs >= 0) close(terminal.childs);
  if (in_ >= 0) fcntl(in_, F_SETFL, O_NONBLOCK);
}

void Process::start_child(const int (&child)[3]) {
  std::vector<std::string> arguments{LLM_BINARY};
  arguments.insert(arguments.end(), setup_.args.begin(), setup_.args.end());
  std::vector<std::string> env = environment_with(setup_.env);
  const std::vector<char*> argv = pointers(arguments), envp = pointers(env);
  // Until the child has its own handlers, a signal meant for it waits.
  sigset_t held, before;
  sigemptyset(&held);
  sigaddset(&held, SIGINT);
  sigaddset(&held, SIGTERM);
  sigprocmask(SIG_BLOCK, &held, &before);
  pid_ = fork();
  if (pid_ != 0) {
    sigprocmask(SIG_SETMASK, &before, nullptr);
    REQUIRE(pid_ > 0);
    return;
  }
  // From here to exec only calls that are safe after fork.
  setsid();
  for (int fd = 0; fd < 3; ++fd) {
    if (child[fd] < 0) {
      close(fd);
    } else {
      dup2(child[fd], fd);
      if (isatty(fd) == 1) ioctl(fd, TIOCSCTTY, 0);
    }
  }
  signal(SIGPIPE, SIG_DFL);
  signal(SIGINT, setup_.ignore_interrupt ? SIG_IGN : SIG_DFL);
  signal(SIGTERM, SIG_DFL);
  sigprocmask(SIG_SETMASK, &before, nullptr);
  signal(SIGXFSZ, SIG_DFL);
  const std::array<std::pair<__rlimit_resource, uint64_t>, 3> limits{
      {{RLIMIT_AS, setup_.memory_limit},
       {RLIMIT_FSIZE, setup_.file_limit},
       {RLIMIT_NOFILE, setup_.descriptor_limit}}};
  for (const auto& [resource, value] : limits) {
    const rlimit limit{value, value};
    if (value > 0) setrlimit(resource, &limit);
  }
  execve(LLM_BINARY, argv.data(), envp.data());
  _exit(127);
}

Process::~Process() {
  if (!reaped_) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  for (const int fd : {in_, out_, err_, terminal_}) {
    if (fd >= 0) close(fd);
  }
}

int Process::remaining_ms() const {
  return std::max(0, int((deadline_ - now()) * 1000));
}

bool Process::read_from(int& fd, std::string& into) {
  std::array<char, 65536> chunk;
  const ssize_t n = read(fd, chunk.data(), chunk.size());
  if (n > 0) into.append(chunk.data(), size_t(n));
  if (n > 0 || (n < 0 && (errno == EINTR || errno == EAGAIN))) return true;
  close(fd);  // end of a pipe, or EIO: the last one left the terminal
  fd = -1;
  return false;
}

bool Process::read_once(int timeout_ms) {
  const bool sending = setup_.in.kind == Stream::Kind::pipe && in_ >= 0;
  if (sending && sent_ == setup_.in.text.size()) {
    close(in_);
    in_ = -1;
    return true;
  }
  std::array<pollfd, 4> fds{pollfd{out_, POLLIN, 0}, pollfd{err_, POLLIN, 0},
                            pollfd{terminal_, POLLIN, 0}, pollfd{sending ? in_ : -1, POLLOUT, 0}};
  if (out_ < 0 && err_ < 0 && terminal_ < 0) return false;
  if (poll(fds.data(), fds.size(), timeout_ms) <= 0) return true;
  if (fds[0].revents != 0) read_from(out_, result_.out);
  if (fds[1].revents != 0) read_from(err_, result_.err);
  if (fds[2].revents != 0) read_from(terminal_, result_.out);
  if (fds[3].revents != 0) {
    const std::string_view rest = std::string_view(setup_.in.text).substr(sent_);
    const ssize_t n = write(in_, rest.data(), rest.size());
    sent_ =
        n < 0 && errno != EAGAIN ? setup_.in.text.size() : sent_ + size_t(std::max<ssize_t>(n, 0));
  }
  return true;
}

bool Process::wait_for_output(std::string_view text) {
  while (result_.out.find(text) == std::string::npos) {
    REQUIRE_MESSAGE(remaining_ms() > 0, "time limit; stdout so far: " << result_.out);
    if (!read_once(remaining_ms())) return false;
  }
  return true;
}

bool Process::expect(std::string_view text) {
  size_t at = 0;
  while ((at = result_.out.find(text, expected_)) == std::string::npos) {
    REQUIRE_MESSAGE(remaining_ms() > 0,
                    "time limit waiting for " << text << "; so far: " << result_.out);
    if (!read_once(remaining_ms())) return false;
  }
  expected_ = at + text.size();
  return true;
}

bool Process::expect_more() {
  while (result_.out.size() == expected_) {
    REQUIRE_MESSAGE(remaining_ms() > 0, "time limit; so far: " << result_.out);
    if (!read_once(remaining_ms())) return false;
  }
  return true;
}

void Process::resize_terminal(int rows, int columns) {
  winsize size{};
  size.ws_row = static_cast<unsigned short>(rows);
  size.ws_col = static_cast<unsigned short>(columns);
  REQUIRE(ioctl(terminal_, TIOCSWINSZ, &size) == 0);
}

bool Process::wait_for_error(std::string_view text) {
  while (result_.err.find(text) == std::string::npos) {
    REQUIRE_MESSAGE(remaining_ms() > 0, "time limit; stderr so far: " << result_.err);
    if (!read_once(remaining_ms())) return false;
  }
  return true;
}

void Process::pump(double seconds) {
  REQUIRE_MESSAGE(remaining_ms() > 0, "time limit; stdout so far: " << result_.out);
  for (const double end = now() + seconds; now() < end;) {
    if (!read_once(int((end - now()) * 1000) + 1)) return;
  }
}

void Process::type(std::string_view text) {
  REQUIRE(write(terminal_, text.data(), text.size()) == ssize_t(text.size()));
}

void Process::stop_reading() {
  close(out_);
  out_ = -1;
}

void Process::let_output_fill() {
  fcntl(out_, F_SETPIPE_SZ, 4096);
  const int capacity = fcntl(out_, F_GETPIPE_SZ);
  // poll() calls a pipe full once its last page (4096 bytes) is begun.
  for (int waiting = 0; waiting <= capacity - 4096;) {
    REQUIRE_MESSAGE(remaining_ms() > 0, "time limit while stdout fills");
    REQUIRE(ioctl(out_, FIONREAD, &waiting) == 0);
    poll(nullptr, 0, 1);
  }
}

int Process::exit_status_unread() {
  while (!exited()) {
    REQUIRE_MESSAGE(remaining_ms() > 0, "time limit while the program ends");
    poll(nullptr, 0, 1);
  }
  return result_.status;
}

void Process::send(int signal_number) {
  REQUIRE(kill(pid_, signal_number) == 0);
}

uint64_t Process::processor_ticks() const {
  std::ifstream stat("/proc/" + std::to_string(pid_) + "/stat");
  std::string text;
  std::getline(stat, text);
  std::istringstream fields(text.substr(text.rfind(')') + 1));  // after the name: see proc(5)
  std::string skipped;
  for (int i = 3; i < 14; ++i) fields >> skipped;
  uint64_t user = 0, system = 0;
  fields >> user >> system;
  return user + system;
}

bool Process::exited() {
  int status = 0;
  rusage usage{};
  const pid_t done = wait4(pid_, &status, WNOHANG, &usage);
  if (done == 0) return false;
  reaped_ = true;
  result_.status = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  result_.peak_bytes = uint64_t(usage.ru_maxrss) << 10;
  return true;
}

Finished Process::finish() {
  // Streams end when the child does; a child without streams is polled for.
  while (read_once(std::min(remaining_ms(), 100))) {
    REQUIRE_MESSAGE(remaining_ms() > 0, "time limit; stdout so far: " << result_.out);
    if (exited()) break;
  }
  while (!reaped_ && !exited()) {
    REQUIRE_MESSAGE(remaining_ms() > 0, "time limit while the program ends");
    poll(nullptr, 0, 1);
  }
  for (bool more = true; more;) {  // what it left in the pipes
    const size_t before = result_.out.size() + result_.err.size();
    more = read_once(0) && result_.out.size() + result_.err.size() > before;
  }
  return result_;
}

Finished run_llm(Setup setup) {
  return Process(std::move(setup)).finish();
}

Finished run_llm(std::vector<std::string> args, Stream in) {
  Setup setup;
  setup.args = std::move(args);
  setup.in = std::move(in);
  return run_llm(std::move(setup));
}

Finished with_env(std::vector<std::string> args, std::vector<std::string> env) {
  Setup setup;
  setup.args = std::move(args);
  setup.env = std::move(env);
  return run_llm(std::move(setup));
}

bool is_one_error(const Finished& finished) {
  const std::string& err = finished.err;
  const auto lines = std::count(err.begin(), err.end(), '\n');
  const bool shape = err.starts_with("llm: ") && err.ends_with('\n') &&
                     (lines == 1 || (lines == 2 && err.find("\n     ") != std::string::npos));
  const bool harmless = std::none_of(err.begin(), err.end(), [](char c) {
    return static_cast<unsigned char>(c) < 0x20 && c != '\n';
  });
  return shape && harmless && utf8::is_valid(err);
}

std::string write_file(const TempDir& folder, std::string_view name, std::string_view bytes) {
  const std::filesystem::path path = folder.path() / name;
  std::ofstream(path, std::ios::binary) << bytes;
  return path.string();
}

Fifo::Fifo(const std::string& path) : path_(path) {
  REQUIRE(mkfifo(path.c_str(), 0600) == 0);
}

void Fifo::open_to_reader() {
  fd_ = ::open(path_.c_str(), O_WRONLY | O_CLOEXEC);
  REQUIRE(fd_ >= 0);
}

void Fifo::open() {
  fd_ = ::open(path_.c_str(), O_RDWR | O_CLOEXEC);
  REQUIRE(fd_ >= 0);
}

void Fifo::write(std::string_view text) {
  REQUIRE(::write(fd_, text.data(), text.size()) == ssize_t(text.size()));
}

void Fifo::end() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

std::vector<Json> json_lines(const std::string& text) {
  std::vector<Json> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(require_ok(parse_json(line)));
  return lines;
}

namespace {

std::string save_model(const TempDir& folder, const std::string& name, int n_ctx) {
  TinyModel model = tiny_model("llama");
  model.n_ctx = n_ctx;
  const std::filesystem::path path = folder.path() / name;
  require_ok(write_tiny_model(model).save(path));
  return path.string();
}

}  // namespace

std::string tiny_model_path() {
  static const TempDir folder;
  static const std::string path = save_model(folder, "tiny.gguf", 1024);
  return path;
}

std::string long_model_path() {
  static const TempDir folder;
  static const std::string path = save_model(folder, "long.gguf", 100'000);
  return path;
}

}  // namespace lm::test
