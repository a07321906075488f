// engine/cli/options.h — what a command takes from the command line. A command declares its options
// here without naming the library that parses them: CLI11 compiles slowly, and only options.cpp
// includes it. Every value is checked while it is parsed; a mistake is one sentence.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/result.h"

namespace lm::cli {

class Options {
 public:
  explicit Options(std::string_view program);  // "llm inspect"
  ~Options();
  Options(const Options&) = delete;
  Options& operator=(const Options&) = delete;

  // The options declared next are listed under this title in --help.
  void group(std::string_view title);

  // names: "-n,--max-tokens". value_name: "N". The last use of an option counts, except `each`,
  // whose `take` is called for every use. Targets must outlive parse().
  using Take = std::function<Status(std::string_view)>;
  void flag(std::string_view names, bool& target, std::string_view help);
  void text(std::string_view names, std::string_view value_name, std::optional<std::string>& target,
            std::string_view help);
  void integer(std::string_view names, std::string_view value_name, int& target, int64_t least,
               int64_t most, std::string_view help);
  void value(std::string_view names, std::string_view value_name, Take take, std::string_view help);
  void each(std::string_view names, std::string_view value_name, Take take, std::string_view help);
  // A word that is not an option.
  void word(std::string_view value_name, std::optional<std::string>& target, std::string_view help);

  // The option declared last is also read from this environment variable.
  void environment(std::string_view variable);

  // True: --help was asked for, and nothing else counts. Error: bad_request.
  Result<bool> parse(const std::vector<std::string>& arguments);
  // The options by group, in the order of their declaration.
  std::string help() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The whole of `text` as a number in a range, or what was expected and found.
Result<int64_t> integer_in(std::string_view text, int64_t least, int64_t most);
Result<double> number_in(std::string_view text, double least, double most);

// A row of --help: `left` in a column of its own, `right` wrapped beside it.
std::string help_row(std::string_view left, std::string_view right);

}  // namespace lm::cli
