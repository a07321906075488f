#include "engine/cli/terminal.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "engine/cli/output.h"
#include "engine/core/text.h"
#include "engine/core/utf8.h"

namespace lm::cli {
namespace {

constexpr int kBarCells = 40;
constexpr uint64_t kLargeModel = 256ull
                                 << 20;  // bytes; smaller ones are there before a bar is read

bool cursor_control_allowed() {
  return may_style(Output());
}

}  // namespace

void write_stderr(std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(STDERR_FILENO, text.data(), text.size());
    if (n < 0 && errno != EINTR) return;
    if (n > 0) text.remove_prefix(size_t(n));
  }
}

void warn(std::string_view message) {
  write_stderr(concat("llm: warning: ", printable(message, 2000), "\n"));
}

bool stderr_is_terminal() {
  return isatty(STDERR_FILENO) == 1;
}

bool terminal_is_clever() {
  const char* term = std::getenv("TERM");
  return term != nullptr && *term != '\0' && std::string_view(term) != "dumb";
}

bool may_style(const Output& out) {
  const char* no_color = std::getenv("NO_COLOR");
  return (no_color == nullptr || *no_color == '\0') && terminal_is_clever() && out.is_terminal();
}

std::string terminal_safe(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const utf8::Decoded d = utf8::decode(text);
    const bool control = d.code_point < 0x20 || (d.code_point >= 0x7F && d.code_point < 0xA0);
    if (!control || d.code_point == '\n' || d.code_point == '\t') utf8::append(out, d.code_point);
    text.remove_prefix(size_t(d.length));
  }
  return out;
}

std::string human_bytes(uint64_t bytes) {
  if (bytes < 1024) return concat(bytes, " bytes");
  constexpr std::array<const char*, 6> kUnits{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double value = double(bytes) / 1024;
  size_t unit = 0;
  for (; value >= 1024 && unit + 1 < kUnits.size(); ++unit) value /= 1024;
  std::array<char, 32> text;
  std::snprintf(text.data(), text.size(), value < 10 ? "%.1f %s" : "%.0f %s", value, kUnits[unit]);
  return text.data();
}

ProgressBar::ProgressBar(std::string_view doing, std::string_view what, bool enabled)
    : title_(concat(doing, " ", printable(what))), enabled_(enabled && stderr_is_terminal()) {}

ProgressBar::~ProgressBar() {
  if (drawn_ < 0) return;
  write_stderr(cursor_control_allowed() ? "\r\x1b[K" : "\n");
}

void ProgressBar::update(uint64_t done, uint64_t total) {
  if (!enabled_ || total < kLargeModel) return;
  if (drawn_ < 0) {
    write_stderr(concat("llm: ", title_, " (", human_bytes(total), ") "));
    drawn_ = 0;
  }
  const int cells = int(double(std::min(done, total)) / double(total) * kBarCells);
  for (; drawn_ < cells; ++drawn_) write_stderr("#");
}

}  // namespace lm::cli
