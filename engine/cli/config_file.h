// engine/cli/config_file.h — the configuration file as keys and values, each with its line. It is
// TOML 1.0 without what options have no use for: dates, inline tables, lists in lists, tables in
// tables. CLI11 has a reader of its own, but that one names no lines and lets mistakes pass.
#pragma once
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/result.h"

namespace lm::cli {

struct ConfigEntry {
  enum class Kind { text, number, boolean, list };

  std::string table;  // "chat" of [chat]; empty above all tables
  std::string key;
  Kind kind = Kind::text;
  std::vector<std::string> values;  // one, unless it is a list
  int line = 0;
};

struct ConfigFile {
  std::vector<ConfigEntry> entries;   // no two of one table and key
  std::map<std::string, int> tables;  // the line of each
};

// bad_request: "NAME:LINE: what was expected, what was found".
Result<ConfigFile> parse_config(std::string_view text, std::string_view name);

}  // namespace lm::cli
