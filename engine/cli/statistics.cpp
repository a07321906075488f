#include "engine/cli/statistics.h"

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

}  // namespace

double tokens_per_second(const Timings& t) {
  return t.seconds_per_token() > 0 ? 1 / t.seconds_per_token() : 0;
}

std::string statistics_line(const Timings& t, double load_seconds) {
  std::string line = "llm: ";
  if (load_seconds > 0) line += concat("loaded in ", int64_t(load_seconds * 1000), " ms; ");
  if (t.queue_seconds >= 0.0005) line += concat("waited ", fixed(t.queue_seconds, 3), " s; ");
  const int n_read = t.prompt_tokens - t.cached_tokens;
  line += concat("prompt ", rate(n_read, t.prompt_seconds,
                                 t.prompt_seconds > 0 ? n_read / t.prompt_seconds : 0));
  if (t.cached_tokens > 0) line += concat(" and ", t.cached_tokens, " from the cache");
  line += concat("; first token after ", fixed(t.first_token_seconds(), 3), " s; answer ",
                 rate(t.generated_tokens, t.generate_seconds, tokens_per_second(t)));
  if (t.drafted_tokens > 0) {
    line += concat(", of them ", t.accepted_tokens, " drafted (", t.drafted_tokens, " were tried)");
  }
  line += concat(", weights read at ", fixed(t.bytes_per_second() / 1e9, 1), " GB/s; peak memory ",
                 human_bytes(peak_rss()), "\n");
  return line;
}

void warn_of_shift(const Timings& t) {
  if (t.dropped_tokens == 0) return;
  warn(concat("the context was full: ", t.dropped_tokens,
              " tokens after its beginning were forgotten (--overflow shift)"));
}

}  // namespace lm::cli
