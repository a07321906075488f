// engine/text/jinja/calendar.h — the time that strftime_now sees, and how it is written.
#pragma once
#include <optional>
#include <string>
#include <string_view>

#include "engine/core/result.h"

namespace lm {

struct CalendarTime {
  int year = 1970, month = 1, day = 1;  // month and day from 1
  int hour = 0, minute = 0, second = 0;

  static CalendarTime local_now();
  // "2026-01-15 12:00:00" or "2026-01-15"; nullopt when it is not such a time.
  static std::optional<CalendarTime> parse(std::string_view text);
};

// strftime in the C locale; what it does not know stays as it is written.
std::string format_time(const CalendarTime& time, std::string_view format);

}  // namespace lm
