// tests/cli/process.h — runs the real binary as a shell, a script or a terminal would: every stream
// can be a pipe, a file, a terminal, closed or broken. Every wait has a limit, so that a hang is a
// failure.
#pragma once
#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/json.h"
#include "tests/support/support.h"

namespace lm::test {

struct Stream {
  enum class Kind { null, pipe, held_pipe, path, closed, terminal, broken_pipe };
  Kind kind = Kind::null;
  std::string text;  // pipe: the bytes to send; path: what to open

  static Stream null() { return {Kind::null, ""}; }  // /dev/null
  static Stream bytes(std::string text) { return {Kind::pipe, std::move(text)}; }
  static Stream pipe() { return {Kind::pipe, ""}; }            // stdout, stderr: collected
  static Stream held_pipe() { return {Kind::held_pipe, ""}; }  // stdin: open, and silent
  static Stream path(std::string name) { return {Kind::path, std::move(name)}; }
  static Stream closed() { return {Kind::closed, ""}; }
  static Stream terminal() { return {Kind::terminal, ""}; }        // one for all streams
  static Stream broken_pipe() { return {Kind::broken_pipe, ""}; }  // stdout: nobody reads
};

struct Setup {
  std::vector<std::string> args;
  Stream in = Stream::null(), out = Stream::pipe(), err = Stream::pipe();
  std::vector<std::string> env{};  // "NAME=value", over a clean copy of ours
  uint64_t memory_limit = 0;       // bytes of address space
  uint64_t file_limit = 0;         // bytes of a file that is written
  uint64_t descriptor_limit = 0;   // open files
  bool ignore_interrupt = false;   // as nohup does for its own signal
  double limit_seconds = 30;
};

struct Finished {
  int status = -1;          // exit status; -N when signal N ended it
  std::string out, err;     // of pipes; a terminal's output is in `out`
  uint64_t peak_bytes = 0;  // largest resident set
};

class Process {
 public:
  explicit Process(Setup setup);
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  const std::string& out() const { return result_.out; }
  // Reads until stdout (or the terminal) holds `text`; false when it ends before.
  bool wait_for_output(std::string_view text);
  // The same for what comes after the text that was expected before.
  bool expect(std::string_view text);
  bool expect_more();  // anything at all
  void resize_terminal(int rows, int columns);
  bool wait_for_error(std::string_view text);  // the same for stderr
  void pump(double seconds);                   // passes this time, reading
  void type(std::string_view text);            // into the terminal
  void stop_reading();                         // closes our end of stdout
  void let_output_fill();                      // does not read until stdout's pipe takes no more
  int exit_status_unread();                    // waits for the end without reading
  void send(int signal_number);
  uint64_t processor_ticks() const;  // that it has used, of all its threads
  Finished finish();                 // reads to the end and waits

 private:
  void start_child(const int (&child)[3]);
  bool read_once(int timeout_ms);  // false: every stream has ended
  bool read_from(int& fd, std::string& into);
  int remaining_ms() const;
  bool exited();

  Setup setup_;
  Finished result_;
  pid_t pid_ = -1;
  int in_ = -1, out_ = -1, err_ = -1, terminal_ = -1;  // our ends
  size_t sent_ = 0;
  size_t expected_ = 0;  // bytes of the output up to what was expected last
  double deadline_ = 0;
  bool reaped_ = false;
};

Finished run_llm(Setup setup);
Finished run_llm(std::vector<std::string> args, Stream in = Stream::null());
// `env` as NAME=VALUE.
Finished with_env(std::vector<std::string> args, std::vector<std::string> env);

// One line "llm: ..." and at most a second, indented one; nothing that could drive a terminal.
bool is_one_error(const Finished& finished);

// Writes folder/name and returns its path.
std::string write_file(const TempDir& folder, std::string_view name, std::string_view bytes);

// A pipe with a name: its writer decides when there is more.
class Fifo {
 public:
  explicit Fifo(const std::string& path);
  ~Fifo() { end(); }
  Fifo(const Fifo&) = delete;
  Fifo& operator=(const Fifo&) = delete;

  void open_to_reader();  // returns when somebody has opened it for reading
  void open();            // or at once
  void write(std::string_view text);
  void end();

 private:
  std::string path_;
  int fd_ = -1;
};

// The values of a text that has one in JSON on each line.
std::vector<Json> json_lines(const std::string& text);

// A random model that answers at once; 1024 tokens of context, or 100,000.
std::string tiny_model_path();
std::string long_model_path();

}  // namespace lm::test
