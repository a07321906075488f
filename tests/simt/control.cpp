// What a test has set: the order of threads, and who hears of errors.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "tests/simt/grid.h"

namespace simt {
namespace {

struct Settings {
  Schedule schedule = Schedule::forward;
  uint64_t seed = 1;
  bool race_detection = false;
  ErrorHandler on_error;
};
Settings& settings() {
  static Settings s;
  return s;
}

}  // namespace

void set_schedule(Schedule schedule, uint64_t seed) {
  settings().schedule = schedule;
  settings().seed = seed;
}

Schedule schedule() {
  return settings().schedule;
}
uint64_t schedule_seed() {
  return settings().seed;
}

void set_race_detection(bool on) {
  settings().race_detection = on;
}
bool race_detection() {
  return settings().race_detection;
}

ErrorHandler set_error_handler(ErrorHandler handler) {
  return std::exchange(settings().on_error, std::move(handler));
}

void report_outside_kernel(const std::string& message) {
  if (!settings().on_error) {
    std::fprintf(stderr, "simt: %s\n", message.c_str());
    std::abort();
  }
  settings().on_error(message);
}

ErrorCollector::ErrorCollector()
    : before_(set_error_handler([this](const std::string& m) { messages_.push_back(m); })) {}

ErrorCollector::~ErrorCollector() {
  set_error_handler(std::move(before_));
}

bool ErrorCollector::has(const std::string& part) const {
  return std::any_of(messages_.begin(), messages_.end(),
                     [&](const auto& m) { return m.find(part) != std::string::npos; });
}

}  // namespace simt
