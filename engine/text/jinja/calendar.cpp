#include "engine/text/jinja/calendar.h"

#include <array>
#include <cstdio>
#include <ctime>

#include "engine/core/text.h"

namespace lm {
namespace {

constexpr std::array<std::string_view, 12> kMonths = {
    "January", "February", "March",     "April",   "May",      "June",
    "July",    "August",   "September", "October", "November", "December"};
constexpr std::array<std::string_view, 7> kDays = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                                   "Thursday", "Friday", "Saturday"};
constexpr std::array<int, 12> kDaysBefore = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};

bool is_leap(int year) {
  return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

int day_of_year(const CalendarTime& t) {  // from 1
  return kDaysBefore[size_t(t.month - 1)] + t.day + (t.month > 2 && is_leap(t.year) ? 1 : 0);
}

int day_of_week(const CalendarTime& t) {  // from Sunday, 0
  const int y = t.year - 1;
  return (y + y / 4 - y / 100 + y / 400 + day_of_year(t)) % 7;
}

std::string padded(int value, int width, char fill, char flag) {
  std::string digits = std::to_string(value);
  if (flag == '-') return digits;
  if (digits.size() < size_t(width)) digits.insert(0, size_t(width) - digits.size(), fill);
  return digits;
}

// nullopt: there is no such letter.
std::optional<std::string> directive(const CalendarTime& t, char letter, char flag) {
  const auto two = [&](int value) { return padded(value, 2, '0', flag); };
  const int hour12 = t.hour % 12 == 0 ? 12 : t.hour % 12;
  const int week_day = day_of_week(t);
  switch (letter) {
    case 'a':
      return std::string(kDays[size_t(week_day)].substr(0, 3));
    case 'A':
      return std::string(kDays[size_t(week_day)]);
    case 'b':
    case 'h':
      return std::string(kMonths[size_t(t.month - 1)].substr(0, 3));
    case 'B':
      return std::string(kMonths[size_t(t.month - 1)]);
    case 'c':
      return format_time(t, "%a %b %e %H:%M:%S %Y");
    case 'd':
      return two(t.day);
    case 'D':
    case 'x':
      return format_time(t, "%m/%d/%y");
    case 'e':
      return padded(t.day, 2, ' ', flag);
    case 'F':
      return format_time(t, "%Y-%m-%d");
    case 'f':
      return "000000";
    case 'H':
      return two(t.hour);
    case 'I':
      return two(hour12);
    case 'j':
      return padded(day_of_year(t), 3, '0', flag);
    case 'm':
      return two(t.month);
    case 'M':
      return two(t.minute);
    case 'n':
      return "\n";
    case 'p':
      return t.hour < 12 ? "AM" : "PM";
    case 'R':
      return format_time(t, "%H:%M");
    case 'S':
      return two(t.second);
    case 't':
      return "\t";
    case 'T':
    case 'X':
      return format_time(t, "%H:%M:%S");
    case 'u':
      return std::to_string(week_day == 0 ? 7 : week_day);
    case 'U':
      return two((day_of_year(t) + 6 - week_day) / 7);
    case 'w':
      return std::to_string(week_day);
    case 'W':
      return two((day_of_year(t) + 6 - (week_day + 6) % 7) / 7);
    case 'y':
      return two(t.year % 100);
    case 'Y':
      return std::to_string(t.year);
    case 'z':
    case 'Z':
      return "";
    case '%':
      return "%";
    default:
      return std::nullopt;
  }
}

}  // namespace

CalendarTime CalendarTime::local_now() {
  const std::time_t seconds = std::time(nullptr);
  std::tm tm{};
  if (localtime_r(&seconds, &tm) == nullptr) return {};
  return {tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec};
}

std::optional<CalendarTime> CalendarTime::parse(std::string_view text) {
  static constexpr std::string_view kShape = "dddd-dd-dd dd:dd:dd";
  if (text.size() != kShape.size() && text.size() != 10) return std::nullopt;
  std::array<int, 6> numbers{};
  size_t field = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool digit = text[i] >= '0' && text[i] <= '9';
    if (digit != (kShape[i] == 'd') || (!digit && text[i] != kShape[i])) return std::nullopt;
    if (digit) {
      numbers[field] = numbers[field] * 10 + (text[i] - '0');
    } else {
      ++field;
    }
  }
  const CalendarTime t{numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5]};
  if (t.year < 1 || t.month < 1 || t.month > 12 || t.day < 1) return std::nullopt;
  const int next = t.month == 12 ? 365 : kDaysBefore[size_t(t.month)];
  const int days = next - kDaysBefore[size_t(t.month - 1)] + (t.month == 2 && is_leap(t.year));
  if (t.day > days || t.hour > 23 || t.minute > 59 || t.second > 59) return std::nullopt;
  return t;
}

std::string format_time(const CalendarTime& time, std::string_view format) {
  std::string out;
  for (size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%') {
      out.push_back(format[i]);
      continue;
    }
    const char flag = i + 1 < format.size() && format[i + 1] == '-' ? '-' : '\0';
    const size_t letter = i + 1 + size_t(flag != '\0');
    std::optional<std::string> text;
    if (letter < format.size()) text = directive(time, format[letter], flag);
    if (!text) {
      out.push_back('%');
      continue;
    }
    out += *text;
    i = letter;
  }
  return out;
}

}  // namespace lm
