#include "engine/cli/settings.h"

#include <cstdlib>

#include "engine/core/text.h"

namespace lm::cli {
namespace {

// What stands for a flag: true, false, or nothing that it takes.
std::optional<std::string_view> flag_value(std::string_view text) {
  for (const std::string_view yes : {"1", "true", "on", "yes"}) {
    if (text == yes) return "true";
  }
  for (const std::string_view no : {"0", "false", "off", "no"}) {
    if (text == no) return "false";
  }
  return std::nullopt;
}

Status set_option(Options& options, size_t index, std::string_view text) {
  if (!options.specs()[index].is_flag()) return options.set(index, text);
  const std::optional<std::string_view> value = flag_value(text);
  if (value) return options.set(index, *value);
  return Error{ErrorCode::bad_request,
               concat("expected on or off, found \"", printable(text), "\"")};
}

}  // namespace

Status read_environment(Options& options) {
  for (size_t i = 0; i < options.specs().size(); ++i) {
    const OptionSpec& spec = options.specs()[i];
    if (!spec.is_setting || options.given(i)) continue;
    const char* const text = std::getenv(spec.variable().c_str());
    if (text == nullptr || *text == '\0') continue;
    Status status = set_option(options, i, text);
    if (!status.ok()) return std::move(status).error().within("$" + spec.variable());
  }
  return ok();
}

}  // namespace lm::cli
