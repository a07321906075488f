#include "engine/cli/statistics.h"

#include <algorithm>
#include <array>
#include <cstdio>

#include "engine/cli/terminal.h"
#include "engine/core/machine.h"
#include "engine/core/text.h"

namespace lm::cli {
namespace {

std::string fixed(double value, int digits) {
  std::array<char, 64> text;
  std::snprintf(text.data(), text.size(), "%.*f", digits, value);
  return text.data();
}

// "12 tokens in 0.034 s (353.1 per second)"
std::string rate(int tokens, double seconds, double per_second) {
  return concat(tokens, " tokens in ", fixed(seconds, 3), " s (", fixed(per_second, 1),
                " per second)");
}

std::string machine(double bytes_per_second) {
  const double speed = bytes_per_second / 1e9;
  return concat(", weights read at ", fixed(speed, speed < 1 ? 3 : 1), " GB/s; peak memory ",
                human_bytes(peak_rss()), "\n");
}

}  // namespace

double tokens_per_second(const Timings& t) {
  return t.seconds_per_token() > 0 ? 1 / t.seconds_per_token() : 0;
}

std::string statistics_line(const Timings& t, double load_seconds) {
  std::string line = "llm: ";
  if (load_seconds > 0) line += concat("loaded in ", int64_t(load_seconds * 1000), " ms; ");
  if (t.queue_seconds >= 0.0005) line += concat("waited ", fixed(t.queue_seconds, 3), " s; ");
  const int n_read = t.read_tokens - t.cached_tokens;
  line += concat("prompt ", rate(n_read, t.prompt_seconds,
                                 t.prompt_seconds > 0 ? n_read / t.prompt_seconds : 0));
  if (t.cached_tokens > 0) line += concat(" and ", t.cached_tokens, " from the cache");
  line += concat("; first token after ", fixed(t.first_token_seconds(), 3), " s; answer ",
                 rate(t.generated_tokens, t.generate_seconds, tokens_per_second(t)));
  return line + drafts_text(uint64_t(t.accepted_tokens), uint64_t(t.drafted_tokens)) +
         machine(t.bytes_per_second());
}

std::string statistics_line(const EngineTotals& t, uint64_t n_lines, double seconds) {
  const auto mean = [](double sum, uint64_t n) {
    return fixed(sum / double(std::max<uint64_t>(n, 1)), 3);
  };
  const double rate = seconds > 0 ? double(t.generated_tokens) / seconds : 0;
  return concat("llm: ", n_lines, " lines in ", int64_t(seconds * 1000),
                " ms: ", t.prompt_tokens - t.cached_tokens, " tokens read, ", t.cached_tokens,
                " from the cache, ", t.generated_tokens, " generated (", int64_t(rate),
                " per second)", drafts_text(t.accepted_tokens, t.drafted_tokens),
                "; on average waited ", mean(t.queue_seconds, t.samples), " s, first token after ",
                mean(t.first_token_seconds, t.first_tokens), " s", machine(t.bytes_per_second()));
}

std::string drafts_text(uint64_t accepted, uint64_t drafted) {
  return drafted > 0 ? concat(", of them ", accepted, " drafted (", drafted, " were tried)") : "";
}

void warn_of_shift(const Timings& t) {
  if (t.dropped_tokens == 0) return;
  warn(concat("the context was full: ", t.dropped_tokens,
              " tokens after its beginning were forgotten (--overflow shift)"));
}

}  // namespace lm::cli
