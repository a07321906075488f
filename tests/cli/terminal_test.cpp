// What a terminal sees: progress, sizes, and text that can't drive it.
#include "engine/cli/terminal.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>

#include "engine/cli/options.h"
#include "tests/cli/process.h"

using namespace lm;

namespace {

// What `body` writes to stderr while that is a terminal (or a pipe).
template <class Body>
std::string stderr_of(bool terminal, const Body& body) {
  int read_end = -1, write_end = -1;
  if (terminal) {
    read_end = posix_openpt(O_RDWR | O_NOCTTY);
    REQUIRE(grantpt(read_end) == 0);
    REQUIRE(unlockpt(read_end) == 0);
    write_end = open(ptsname(read_end), O_RDWR | O_NOCTTY);
  } else {
    int fds[2];
    REQUIRE(pipe(fds) == 0);
    read_end = fds[0];
    write_end = fds[1];
  }
  const int saved = dup(STDERR_FILENO);
  dup2(write_end, STDERR_FILENO);
  body();
  dup2(saved, STDERR_FILENO);
  close(saved);
  // What a terminal was given arrives some time later: read up to a mark of our own.
  constexpr char kEnd = '\x1e';
  REQUIRE(write(write_end, &kEnd, 1) == 1);
  std::string text;
  for (char c = 0; read(read_end, &c, 1) == 1 && c != kEnd;) text += c;
  close(read_end);
  close(write_end);
  return text;
}

void load(uint64_t total) {
  cli::ProgressBar bar("loading", "big\x1b[1m.gguf", true);
  for (uint64_t part = 0; part <= 10; ++part) bar.update(total / 10 * part, total);
}

}  // namespace

TEST_CASE("terminal: a bar grows while a large model loads, on a terminal only") {
  const std::string shown = stderr_of(true, [] { load(10ull << 30); });
  CHECK(shown.find("loading big?[1m.gguf (10 GiB) ####") != std::string::npos);
  CHECK(std::count(shown.begin(), shown.end(), '#') == 40);
  CHECK(stderr_of(false, [] { load(10ull << 30); }).empty());
  CHECK(stderr_of(true, [] { load(1 << 20); }).empty());
}

TEST_CASE("terminal: a bar has no cursor control under NO_COLOR") {
  setenv("NO_COLOR", "1", 1);
  const std::string shown = stderr_of(true, [] { load(10ull << 30); });
  unsetenv("NO_COLOR");
  CHECK(shown.find('\x1b') == std::string::npos);
  CHECK(shown.find("####") != std::string::npos);
}

TEST_CASE("terminal: text that could drive it is made harmless") {
  CHECK(cli::terminal_safe("a\x1b[31mb\x07\r\n\tc") == "a[31mb\n\tc");
  CHECK(cli::terminal_safe("x\xc2\x9b"
                           "31m") == "x31m");  // CSI as a C1 control
  CHECK(cli::terminal_safe("grün €😀") == "grün €😀");
}

TEST_CASE("terminal: sizes for people") {
  CHECK(cli::human_bytes(0) == "0 bytes");
  CHECK(cli::human_bytes(1023) == "1023 bytes");
  CHECK(cli::human_bytes(1536) == "1.5 KiB");
  CHECK(cli::human_bytes(300ull << 20) == "300 MiB");
  CHECK(cli::human_bytes(~0ull) == "16 EiB");
}

TEST_CASE("terminal: a row of --help wraps at words") {
  const std::string row = cli::help_row("-x", std::string(60, 'a') + " " + std::string(60, 'b'));
  CHECK(row == "  -x" + std::string(26, ' ') + std::string(60, 'a') + "\n" + std::string(30, ' ') +
                   std::string(60, 'b') + "\n");
}
