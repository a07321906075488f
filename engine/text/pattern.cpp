#include "engine/text/pattern.h"

#include <array>
#include <utility>

#include "engine/core/check.h"
#include "engine/core/text.h"
#include "engine/text/pcre.h"

namespace lm {

struct Pattern::Impl {
  pcre::Code code;
  pcre::MatchContext context;
};

Result<Pattern> Pattern::compile(std::string_view expression) {
  int error = 0;
  PCRE2_SIZE at = 0;
  auto impl = std::make_shared<Impl>();
  impl->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(expression.data()), expression.size(),
                                 PCRE2_NEVER_BACKSLASH_C, &error, &at, nullptr));
  if (impl->code == nullptr) {
    std::array<unsigned char, 256> reason{};
    pcre2_get_error_message(error, reason.data(), reason.size());
    return Error{ErrorCode::bad_request,
                 concat("expected a regular expression, found \"", printable(expression),
                        "\": ", reinterpret_cast<const char*>(reason.data()), " at ", at)};
  }
  impl->context.reset(pcre2_match_context_create(nullptr));
  LM_CHECK(impl->context != nullptr);
  pcre2_set_match_limit(impl->context.get(), pcre::kMatchLimit);
  pcre2_set_heap_limit(impl->context.get(), pcre::kHeapLimit);
  return Pattern(std::move(impl));
}

bool Pattern::found_in(std::string_view text) const {
  const pcre::MatchData data(pcre2_match_data_create(1, nullptr));
  LM_CHECK(data != nullptr);
  return pcre2_match(impl_->code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), 0,
                     0, data.get(), impl_->context.get()) >= 0;
}

}  // namespace lm
