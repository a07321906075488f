#include "engine/cli/eval_text.h"

#include <array>
#include <cstdio>

#include "engine/core/text.h"

namespace lm::cli {
namespace {

std::string line(const char* what, const char* format, Estimate estimate, double factor = 1) {
  std::array<char, 160> number;
  std::array<char, 400> text;
  std::snprintf(number.data(), number.size(), format, factor * estimate.value,
                factor * estimate.error);
  std::snprintf(text.data(), text.size(), "%-26s%s\n", what, number.data());
  return text.data();
}

}  // namespace

Json eval_json(const EvalReport& report) {
  Json json = {{"perplexity", report.perplexity.value},
               {"perplexity_error", report.perplexity.error},
               {"tokens", report.n_tokens},
               {"windows", report.n_windows},
               {"ctx", report.n_ctx}};
  if (!report.comparison) return json;
  const Comparison& c = *report.comparison;
  const Quantiles& q = c.kl_quantiles;
  json["kl_divergence"] = {{"mean", c.kl.value}, {"error", c.kl.error}, {"min", q.min},
                           {"q01", q.q01},       {"q05", q.q05},        {"q10", q.q10},
                           {"median", q.median}, {"q90", q.q90},        {"q95", q.q95},
                           {"q99", q.q99},       {"q99_9", q.q999},     {"max", q.max}};
  json["same_top"] = c.same_top.value;
  json["same_top_error"] = c.same_top.error;
  json["base_perplexity"] = c.base_perplexity.value;
  json["base_perplexity_error"] = c.base_perplexity.error;
  json["perplexity_change"] = {{"difference", c.difference.value},
                               {"difference_error", c.difference.error},
                               {"ratio", c.ratio.value},
                               {"ratio_error", c.ratio.error},
                               {"correlation", c.correlation}};
  json["probability_change"] = {{"mean", c.p_change.value},
                                {"mean_error", c.p_change.error},
                                {"rms", c.p_change_rms.value},
                                {"rms_error", c.p_change_rms.error}};
  json["verdict"] = verdict(c);
  return json;
}

std::string eval_text(const EvalReport& report) {
  std::string text = line("perplexity", "%.4f ± %.4f", report.perplexity);
  text += concat("tokens scored             ", report.n_tokens, " (", report.n_windows,
                 " windows of ", report.n_ctx, ")\n");
  if (!report.comparison) return text;
  const Comparison& c = *report.comparison;
  const Quantiles& q = c.kl_quantiles;
  text += line("perplexity of the base", "%.4f ± %.4f", c.base_perplexity);
  text += line("change", "%+.4f ± %.4f", c.difference);
  text += line("ratio", "%.5f ± %.5f", c.ratio);
  text += line("KL divergence, mean", "%.6f ± %.6f", c.kl);
  text += line("  median, 90%", "%.6f, %.6f", {q.median, q.q90});
  text += line("  99%, 99.9%", "%.6f, %.6f", {q.q99, q.q999});
  text += line("  largest", "%.6f", {q.max, 0});
  text += line("same likeliest token", "%.2f%% ± %.2f%%", c.same_top, 100);
  text += line("change of p, mean", "%+.3f%% ± %.3f%%", c.p_change, 100);
  text += line("change of p, RMS", "%.3f%% ± %.3f%%", c.p_change_rms, 100);
  return text + "verdict: " + verdict(c) + "\n";
}

}  // namespace lm::cli
