// engine/cli/batch_results.h — where the results of --prompts go: stdout, or a file that a later
// run goes on with. A file gets each line in one write, and holds whole lines whatever happens:
// what a killed run left of one is cut off by the next.
#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "engine/cli/line_reader.h"
#include "engine/cli/output.h"
#include "engine/core/json.h"
#include "engine/core/result.h"

namespace lm::cli {

// What names an input line in its result, so that a result is never taken for that of another line.
std::string line_digest(const LineReader::Line& line);

class BatchResults {
 public:
  // To stdout, which outlives this.
  static BatchResults to(Output& out);
  // To this file, which only one run may write at a time. What it has already is compared with the
  // lines that `input` gives: those are answered, and taken from it. bad_file when it does not hold
  // the beginning of their results.
  static Result<BatchResults> resume(const std::string& path, LineReader& input);
  BatchResults(BatchResults&&) noexcept;
  BatchResults& operator=(BatchResults&&) noexcept;
  ~BatchResults();

  // False: nobody reads stdout any more, or it can't be written; see Output.
  Result<bool> write(const Json& result);
  bool reader_gone() { return out_ != nullptr && out_->reader_gone(); }

  // Of those of earlier runs and of this one.
  uint64_t n_lines() const { return n_lines_; }
  uint64_t n_failed() const { return n_failed_; }
  uint64_t first_failed() const { return first_failed_; }  // its line

 private:
  BatchResults() = default;
  Status read_earlier(LineReader& input);
  Status check(const LineReader::Line& kept, LineReader& input);
  void count(const Json& result);

  Output* out_ = nullptr;  // nullptr: a file
  int fd_ = -1;
  std::string path_;
  uint64_t size_ = 0;  // bytes of whole lines in the file
  uint64_t n_lines_ = 0, n_failed_ = 0, first_failed_ = 0;
};

}  // namespace lm::cli
