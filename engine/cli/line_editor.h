// engine/cli/line_editor.h — one line (or several) from a person at a terminal: libedit's keys and
// history, with what it lacks: pasted text comes as one piece whatever is in it, Alt-Enter begins a
// new line, Ctrl-C is an answer and not a signal. Waiting costs no processor time.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/cli/signals.h"
#include "engine/core/result.h"

namespace lm::cli {

struct TypedLine {
  enum class Kind {
    text,
    end,          // Ctrl-D on an empty line, or the terminal has gone
    interrupted,  // Ctrl-C
    signal        // pending_signal() says which
  };
  Kind kind = Kind::text;
  std::string text;  // UTF-8, without the newline that ended it
};

class LineEditor {
 public:
  // Names that could stand in place of an unfinished first word.
  using Complete = std::function<std::vector<std::string_view>(std::string_view word)>;

  static Result<std::unique_ptr<LineEditor>> open(Signals& signals, Complete complete);
  ~LineEditor();

  TypedLine read(std::string_view prompt);
  void remember(std::string_view text);  // into the history

 private:
  struct Impl;
  explicit LineEditor(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace lm::cli
