#include "tests/cli/screen.h"

#include <algorithm>

#include "engine/core/utf8.h"

namespace lm::test {
namespace {

// Of the characters that the tests use (Unicode's East Asian Width, in short).
int width_of(char32_t c) {
  if (c >= 0x300 && c < 0x370) return 0;
  const bool wide = (c >= 0x1100 && c < 0x1160) || (c >= 0x2E80 && c < 0xA4D0) ||
                    (c >= 0xAC00 && c < 0xD7A4) || (c >= 0xFF00 && c < 0xFF61) ||
                    (c >= 0x1F300 && c < 0x1FAFF);
  return wide ? 2 : 1;
}

}  // namespace

Screen::Screen(int rows, int columns)
    : cells_(size_t(rows), std::vector<std::string>(size_t(columns), " ")),
      rows_(rows),
      columns_(columns) {}

void Screen::feed(std::string_view bytes) {
  while (!bytes.empty()) {
    const utf8::Decoded d = utf8::decode(bytes);
    const std::string_view character = bytes.substr(0, size_t(d.length));
    bytes.remove_prefix(size_t(d.length));
    if (d.code_point == '\r') {
      column_ = 0;
      wraps_ = false;
    } else if (d.code_point == '\n') {
      new_line();
    } else if (d.code_point == '\b') {
      column_ = std::max(column_ - 1, 0);
      wraps_ = false;
    } else if (d.code_point == 0x1b && bytes.starts_with('[')) {
      std::vector<int> parameters;
      size_t at = 1;
      for (int value = 0; at < bytes.size() && bytes[at] < '@'; ++at) {
        if (bytes[at] >= '0' && bytes[at] <= '9') value = value * 10 + (bytes[at] - '0');
        const bool last = at + 1 >= bytes.size() || bytes[at + 1] >= '@';
        if (bytes[at] == ';' || last) {
          parameters.push_back(value);
          value = 0;
        }
      }
      if (at < bytes.size()) control(bytes[at], parameters);
      bytes.remove_prefix(std::min(at + 1, bytes.size()));
    } else if (d.code_point >= 0x20) {
      put(character, width_of(d.code_point));
    }
  }
}

void Screen::new_line() {
  wraps_ = false;
  if (row_ + 1 < rows_) {
    ++row_;
    return;
  }
  std::rotate(cells_.begin(), cells_.begin() + 1, cells_.end());
  std::fill(cells_.back().begin(), cells_.back().end(), " ");
}

void Screen::put(std::string_view character, int width) {
  if (width == 0) {
    if (column_ > 0) cells_[size_t(row_)][size_t(column_) - 1] += character;
    return;
  }
  if (wraps_ || column_ + width > columns_) {
    column_ = 0;
    new_line();
  }
  std::vector<std::string>& line = cells_[size_t(row_)];
  line[size_t(column_)] = character;
  if (width == 2) line[size_t(column_) + 1] = "";
  wraps_ = column_ + width >= columns_;
  column_ = std::min(column_ + width, columns_ - 1);
}

void Screen::control(char final, const std::vector<int>& parameters) {
  const int n = parameters.empty() ? 0 : parameters[0], count = std::max(n, 1);
  std::vector<std::string>& line = cells_[size_t(row_)];
  const auto here = line.begin() + column_;
  if (final != 'm' && final != 'h' && final != 'l') wraps_ = false;
  switch (final) {
    case 'A':
      row_ = std::max(row_ - count, 0);
      break;
    case 'B':
      row_ = std::min(row_ + count, rows_ - 1);
      break;
    case 'C':
      column_ = std::min(column_ + count, columns_ - 1);
      break;
    case 'D':
      column_ = std::max(column_ - count, 0);
      break;
    case 'G':
      column_ = std::min(count, columns_) - 1;
      break;
    case 'H':
      row_ = std::min(count, rows_) - 1;
      column_ = std::clamp(parameters.size() > 1 ? parameters[1] : 1, 1, columns_) - 1;
      break;
    case 'J':
      for (int r = n == 2 ? 0 : row_ + 1; r < rows_; ++r) {
        std::fill(cells_[size_t(r)].begin(), cells_[size_t(r)].end(), " ");
      }
      if (n == 0) std::fill(here, line.end(), " ");
      break;
    case 'K':
      std::fill(n == 0 ? here : line.begin(), n == 1 ? here + 1 : line.end(), " ");
      break;
    case 'P':  // takes characters out
      for (int i = 0; i < count; ++i) {
        line.erase(line.begin() + column_);
        line.emplace_back(" ");
      }
      break;
    case '@':  // makes room
      for (int i = 0; i < count; ++i) {
        line.insert(line.begin() + column_, " ");
        line.pop_back();
      }
      break;
    case 'X':
      std::fill(here, here + std::min(count, columns_ - column_), " ");
      break;
    default:
      break;
  }
}

std::string Screen::line(int row) const {
  std::string text;
  for (const std::string& cell : cells_[size_t(row)]) text += cell;
  return text.substr(0, text.find_last_not_of(' ') + 1);
}

std::string Screen::all() const {
  std::string text;
  for (int row = 0; row < rows_; ++row) text += line(row) + "\n";
  return text.substr(0, text.find_last_not_of('\n') + 1);
}

}  // namespace lm::test
