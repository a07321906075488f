// engine/cli/line_reader.h — the lines of a file or pipe of any length, one at a time and in
// bounded memory: a line that is too long is passed over, and said to be so.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "engine/core/result.h"

namespace lm::cli {

class LineReader {
 public:
  // Reads `fd`, which stays the caller's. name: for messages.
  LineReader(int fd, std::string name, size_t max_bytes);

  struct Line {
    uint64_t number = 0;  // from 1
    std::string text;     // without its newline; "" when it is too long
    bool too_long = false;
    bool whole = true;  // false: the last one, which no newline ends
  };
  // The next line of what was read. nullopt: there is none before read_more(), or after ended().
  std::optional<Line> next();
  // Waits for more, and reads it.
  Status read_more();
  bool ended() const { return ended_; }  // nothing comes after what was read
  // The next line that is not blank, waiting for it; nullopt at the end.
  Result<std::optional<Line>> wait_for_line();

  uint64_t bytes_taken() const { return taken_; }  // of the lines given so far

 private:
  std::optional<Line> take(size_t length, bool whole);

  int fd_;
  std::string name_;
  size_t max_bytes_;
  std::string buffer_;
  size_t begin_ = 0;      // of the next line in it
  size_t scanned_ = 0;    // bytes of it that hold no newline, from begin_ on
  uint64_t skipped_ = 0;  // bytes of the line at hand that were dropped: it is too long
  uint64_t taken_ = 0, number_ = 0;
  bool ended_ = false;
};

// Nothing but white space.
bool is_blank(const std::string& line);

}  // namespace lm::cli
