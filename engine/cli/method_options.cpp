#include "engine/cli/method_options.h"

#include <algorithm>
#include <utility>

#include "engine/core/file.h"
#include "engine/core/text.h"
#include "engine/tools/group_rounding.h"

namespace lm::cli {
namespace {

constexpr uint64_t kMaxTextBytes = uint64_t{1} << 30;
constexpr int kSequence = 512;  // tokens
constexpr int kTokens = 1 << 16;
constexpr float kDamping = 0.01f;
constexpr int kBits = 4;

}  // namespace

Status MethodOptions::take_method(std::string_view word) {
  constexpr std::pair<std::string_view, Method> kMethods[] = {
      {"rtn", Method::rtn}, {"gptq", Method::gptq}, {"awq", Method::awq}};
  for (const auto& [name, method] : kMethods) {
    if (word != name) continue;
    method_ = method;
    return ok();
  }
  return Error{ErrorCode::bad_request,
               concat("expected rtn, gptq or awq, found \"", printable(word), "\"")};
}

void MethodOptions::declare(Options& options) {
  options.group("How numbers are rounded");
  options.value(
      "--method", "rtn|gptq|awq", [this](std::string_view word) { return take_method(word); },
      "each by itself, or with what a text shows of the layers' inputs: GPTQ makes up for each "
      "column's error in the next, AWQ scales the channels that matter");
  options.text("--calib", "FILE", text_, "the text for gptq and awq: like what will be asked");
  options.integer("--calib-tokens", "N", n_tokens_, 1, 1 << 28,
                  "tokens of the text that are used, in sequences of 512 (default 65536)");
  options.integer("--bits", "2|3|4", bits_, 2, 4,
                  "bits of i4g32, i4g64 and i4g128 groups (default 4; for 8: --type q8_0)");
  options.suggest({"2", "3", "4"});
  options.flag("--symmetric", symmetric_, "zero in the middle of such a group's range");
  options.flag("--act-order", act_order_,
               "gptq: the columns that matter first, with scales chosen before");
  options.value(
      "--damp", "X",
      [this](std::string_view word) -> Status {
        damping_ = float(LM_TRY(number_in(word, 0, 1)));
        return ok();
      },
      "gptq: added to the diagonal of a Hessian, as a share of its mean (default 0.01)");
  options.text(
      "--work", "FOLDER", work_,
      "where finished layers wait for the rest, and a stopped run goes on (default: beside "
      "OUT.gguf)");
}

// What the method has no use for was not meant for it.
Status MethodOptions::check() const {
  const bool gptq = method_ == Method::gptq, layerwise = method_ != Method::rtn;
  const auto needs = [](std::string_view method, std::string_view option) {
    return Error{ErrorCode::bad_request, concat("expected --method ", method, " with ", option)};
  };
  if (text_ && !layerwise) return needs("gptq or awq", "--calib");
  if (n_tokens_ > 0 && !layerwise) return needs("gptq or awq", "--calib-tokens");
  if (work_ && !layerwise) return needs("gptq or awq", "--work");
  if (act_order_ && !gptq) return needs("gptq", "--act-order");
  if (damping_ && !gptq) return needs("gptq", "--damp");
  if (layerwise && !text_) {
    return Error{ErrorCode::bad_request,
                 "expected --calib FILE with a text for the method, found none"};
  }
  return ok();
}

Result<std::unique_ptr<QuantizeMethod>> MethodOptions::make(const Registry& registry,
                                                            const std::filesystem::path& out,
                                                            Listener listener) const {
  LM_TRY(check());
  if (method_ == Method::rtn) {
    if (bits_ == 0 && !symmetric_) return std::unique_ptr<QuantizeMethod>();
    return make_group_rounding(bits_ > 0 ? bits_ : kBits, symmetric_);
  }
  const int n_tokens = n_tokens_ > 0 ? n_tokens_ : kTokens;
  LayerwiseOptions options{
      .method = {.method = method_ == Method::gptq ? LayerMethod::gptq : LayerMethod::awq,
                 .bits = bits_ > 0 ? std::optional(bits_) : std::nullopt,
                 .symmetric = symmetric_,
                 .feedback = {.damping = damping_.value_or(kDamping), .by_importance = act_order_}},
      .text = LM_TRY(read_file(*text_, kMaxTextBytes)),
      .n_ctx = std::min(kSequence, n_tokens),
      .max_sequences = std::max(1, n_tokens / kSequence),
      .work = work_.value_or(out.native() + ".layers"),
      .announce = std::move(listener.announce),
      .progress = std::move(listener.progress)};
  return make_layerwise_method(registry, std::move(options));
}

}  // namespace lm::cli
