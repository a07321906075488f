// engine/text/pcre.h — PCRE2's objects as owners, and the limits of every search. Inside the room
// only.
#pragma once
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <memory>

namespace lm::pcre {

struct Free {
  void operator()(pcre2_code* p) const { pcre2_code_free(p); }
  void operator()(pcre2_match_data* p) const { pcre2_match_data_free(p); }
  void operator()(pcre2_match_context* p) const { pcre2_match_context_free(p); }
};
using Code = std::unique_ptr<pcre2_code, Free>;
using MatchData = std::unique_ptr<pcre2_match_data, Free>;
using MatchContext = std::unique_ptr<pcre2_match_context, Free>;

inline constexpr uint32_t kMatchLimit = 10'000'000;  // steps of one search; PCRE2's own default
inline constexpr uint32_t kHeapLimit = 64 * 1024;    // KiB

}  // namespace lm::pcre
