#include "engine/cli/key_reader.h"

#include <unistd.h>

#include <array>
#include <cerrno>

#include "engine/core/utf8.h"

namespace lm::cli {
namespace {

// xterm's bracketed paste mode: ESC [ 200 ~ text ESC [ 201 ~
constexpr std::u32string_view kPasteEnd = U"\x1b[201~";
constexpr size_t kMaxPasteBytes = 16 << 20;

}  // namespace

bool KeyReader::fill() {
  while (true) {
    if (!signals_->wait_for_input(fd_)) {
      if (pending_signal() == 0) continue;
      end_ = End::signal;
      return false;
    }
    std::array<char, 4096> chunk;
    const ssize_t n = ::read(fd_, chunk.data(), chunk.size());
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n <= 0) {
      end_ = End::input;
      return false;
    }
    bytes_.append(chunk.data(), size_t(n));
    return true;
  }
}

std::optional<char32_t> KeyReader::next() {
  while (waiting_.empty()) {
    const size_t ready = utf8::complete_prefix(bytes_);
    if (ready == 0) {
      if (end_ != End::none || !fill()) return std::nullopt;
      continue;
    }
    std::string_view text = std::string_view(bytes_).substr(0, ready);
    while (!text.empty()) {
      const utf8::Decoded d = utf8::decode(text);
      waiting_.push_back(d.code_point);
      text.remove_prefix(size_t(d.length));
    }
    bytes_.erase(0, ready);
  }
  const char32_t c = waiting_.front();
  waiting_.pop_front();
  return c;
}

void KeyReader::put_back(std::u32string_view characters) {
  waiting_.insert(waiting_.begin(), characters.begin(), characters.end());
}

std::string KeyReader::rest_of_paste() {
  std::string text;
  std::u32string held;  // a beginning of kPasteEnd
  bool after_return = false;
  while (const std::optional<char32_t> c = next()) {
    held += *c;
    if (held == kPasteEnd) break;
    if (kPasteEnd.starts_with(held)) continue;
    for (char32_t h : held) {
      const bool second_half = h == '\n' && after_return;  // of "\r\n"
      after_return = h == '\r';
      if (h == '\r') h = '\n';
      const bool control = h < 0x20 || (h >= 0x7F && h < 0xA0);
      if (second_half || (control && h != '\n' && h != '\t')) continue;
      if (text.size() < kMaxPasteBytes) utf8::append(text, h);
    }
    held.clear();
  }
  return text;
}

}  // namespace lm::cli
