// engine/cli/settings.h — options that a person wants the same every time. What is not on the
// command line comes from the environment, what is not there from the configuration file: first
// from the command's own table in it, then from what stands above all tables.
#pragma once
#include <optional>
#include <string>
#include <string_view>

#include "engine/cli/options.h"
#include "engine/core/result.h"

namespace lm::cli {

class Settings {
 public:
  // --config, for a command that has settings at all. After its own options.
  void declare(Options& options);

  // After Options::parse(). bad_request names the variable, or the file and the line, that holds
  // what the option does not take; and a key of the file that is no setting of any command.
  Status apply(Options& options, std::string_view table) const;

 private:
  std::optional<std::string> file_;
};

}  // namespace lm::cli
