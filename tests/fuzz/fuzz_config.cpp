// Reads any bytes as a configuration file.
#include <cstdint>
#include <set>
#include <string_view>
#include <utility>

#include "engine/cli/config_file.h"
#include "engine/core/check.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto parsed = lm::cli::parse_config(text, "config.toml");
  if (!parsed.ok()) {
    LM_CHECK(parsed.error().message.find('\n') == std::string::npos);
    return 0;
  }
  std::set<std::pair<std::string_view, std::string_view>> seen;
  for (const lm::cli::ConfigEntry& entry : parsed.value().entries) {
    LM_CHECK(entry.line >= 1 && size_t(entry.line) <= size + 1);
    LM_CHECK(entry.kind == lm::cli::ConfigEntry::Kind::list || entry.values.size() == 1);
    LM_CHECK(seen.emplace(entry.table, entry.key).second);
  }
  return 0;
}
