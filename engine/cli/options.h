// engine/cli/options.h — what a command takes. A command declares its options here without naming
// the library that parses them: CLI11 compiles slowly, and only options.cpp includes it. Every
// value is checked while it is parsed; a mistake is one sentence.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/cli/option_spec.h"
#include "engine/core/result.h"

namespace lm::cli {

class Options {
 public:
  explicit Options(std::string_view program);  // "llm inspect"
  ~Options();
  Options(const Options&) = delete;
  Options& operator=(const Options&) = delete;

  // The options declared next are listed under this title.
  void group(std::string_view title);

  // names: "-n,--max-tokens". value: see OptionSpec; one that is none of a closed list is refused
  // here. The last use of an option counts, except `each`, whose `take` is called for every use.
  // Targets must outlive the last call.
  using Take = std::function<Status(std::string_view)>;
  void flag(std::string_view names, bool& target, std::string_view help);
  void text(std::string_view names, std::string_view value, std::optional<std::string>& target,
            std::string_view help);
  void integer(std::string_view names, std::string_view value, int& target, int64_t least,
               int64_t most, std::string_view help);
  void value(std::string_view names, std::string_view value, Take take, std::string_view help);
  void each(std::string_view names, std::string_view value, Take take, std::string_view help);
  // A word that is not an option.
  void word(std::string_view value, std::optional<std::string>& target, std::string_view help);

  // Of the option declared last: it is also read from $LLM_NAME, and from the configuration file,
  // because a person may want the same value every time.
  void setting(Origin farthest = Origin::file);
  // Of the option declared last: values that a shell may offer.
  void suggest(std::vector<std::string> values);

  const std::string& program() const;
  const std::vector<OptionSpec>& specs() const;

  // True: --help was asked for, and nothing else counts. Error: bad_request.
  Result<bool> parse(const std::vector<std::string>& arguments);
  // After parse(): whether specs()[index] has got a value; and one from elsewhere than the command
  // line, a flag's being on or off.
  bool given(size_t index) const;
  Status set(size_t index, std::string_view value);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The whole of `text` as a number in a range, or what was expected and found.
Result<int64_t> integer_in(std::string_view text, int64_t least, int64_t most);
Result<double> number_in(std::string_view text, double least, double most);

}  // namespace lm::cli
