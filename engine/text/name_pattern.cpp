#include "engine/text/name_pattern.h"

#include <array>

#include "engine/core/check.h"
#include "engine/core/text.h"
#include "engine/text/pcre.h"

namespace lm {
namespace {

constexpr uint32_t kMostSteps = 100'000;  // names are short
constexpr size_t kLongestPattern = 4096;

}  // namespace

struct NamePattern::Impl {
  pcre::Code code;
  pcre::MatchContext context;
};

NamePattern::NamePattern(std::unique_ptr<const Impl> impl) : impl_(std::move(impl)) {}
NamePattern::NamePattern(NamePattern&&) noexcept = default;
NamePattern& NamePattern::operator=(NamePattern&&) noexcept = default;
NamePattern::~NamePattern() = default;

Result<NamePattern> NamePattern::compile(std::string_view pattern) {
  const auto refused = [&](std::string_view why) {
    return Error{ErrorCode::bad_request, concat("expected a regular expression, found \"",
                                                printable(pattern), "\": ", why)};
  };
  if (pattern.empty() || pattern.size() > kLongestPattern) return refused("its length");
  int error = 0;
  PCRE2_SIZE at = 0;
  auto impl = std::make_unique<Impl>();
  impl->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                 PCRE2_UTF, &error, &at, nullptr));
  if (impl->code == nullptr) {
    std::array<PCRE2_UCHAR, 200> why{};
    pcre2_get_error_message(error, why.data(), why.size());
    return refused(concat(reinterpret_cast<const char*>(why.data()), " at byte ", at));
  }
  impl->context.reset(pcre2_match_context_create(nullptr));
  LM_CHECK(impl->context != nullptr);
  pcre2_set_match_limit(impl->context.get(), kMostSteps);
  pcre2_set_heap_limit(impl->context.get(), pcre::kHeapLimit);
  return NamePattern(std::move(impl));
}

bool NamePattern::occurs_in(std::string_view name) const {
  const pcre::MatchData data(pcre2_match_data_create(1, nullptr));
  LM_CHECK(data != nullptr);
  return pcre2_match(impl_->code.get(), reinterpret_cast<PCRE2_SPTR>(name.data()), name.size(), 0,
                     0, data.get(), impl_->context.get()) >= 0;
}

}  // namespace lm
