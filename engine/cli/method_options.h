// engine/cli/method_options.h — the options of `llm quantize` that say how numbers are rounded.
#pragma once
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "engine/cli/options.h"
#include "engine/core/result.h"
#include "engine/tools/layerwise.h"

namespace lm::cli {

class MethodOptions {
 public:
  void declare(Options& options);

  // Told while it works; see LayerwiseOptions.
  struct Listener {
    std::function<void(std::string_view)> announce;
    std::function<void(uint64_t done, uint64_t total)> progress;
  };
  // For the output `out`; reads the calibration text. nullptr: plain rounding.
  Result<std::unique_ptr<QuantizeMethod>> make(const Registry& registry,
                                               const std::filesystem::path& out,
                                               Listener listener) const;

  // The calibration text, where there is one.
  const std::optional<std::string>& text_path() const { return text_; }

 private:
  Status take_method(std::string_view word);
  Status check() const;

  enum class Method { rtn, gptq, awq };
  Method method_ = Method::rtn;
  std::optional<std::string> text_, work_;
  int n_tokens_ = 0, bits_ = 0;  // 0: not said
  std::optional<float> damping_;
  bool symmetric_ = false, act_order_ = false;
};

}  // namespace lm::cli
