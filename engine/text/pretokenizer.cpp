#include "engine/text/pretokenizer.h"

#include <utility>

#include "engine/core/check.h"
#include "engine/core/text.h"
#include "engine/core/utf8.h"
#include "engine/text/pcre.h"
#include "engine/text/pretokenizer_table.h"

namespace lm {
namespace {

using pcre::Code;
using pcre::MatchContext;
using pcre::MatchData;

// PCRE2's \s has one character more than Unicode's White_Space (U+180E), which the engines that the
// models were trained with follow.
std::string with_unicode_space(std::string_view pattern) {
  std::string out;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const std::string_view two = pattern.substr(i, 2);
    if (two == "\\s") {
      out += "\\p{WSpace}";
    } else if (two == "\\S") {
      out += "\\P{WSpace}";
    } else if (two[0] == '\\') {
      out += two;
    } else {
      out += two[0];
      continue;
    }
    ++i;
  }
  return out;
}

// Our own table: that it compiles is ours to guarantee.
Code compile(std::string_view stage) {
  const std::string pattern = with_unicode_space(stage);
  int error = 0;
  PCRE2_SIZE at = 0;
  Code code(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                          PCRE2_UTF | PCRE2_UCP | PCRE2_DOLLAR_ENDONLY, &error, &at, nullptr));
  LM_CHECK(code != nullptr);
  pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE);  // without it, matching is slower, no more
  return code;
}

// How many bytes at the start of `text` are whole characters (valid), or are none (!valid).
size_t run_length(std::string_view text, bool valid) {
  size_t n = 0;
  while (n < text.size()) {
    const utf8::Decoded d = utf8::decode(text.substr(n));
    if (d.valid != valid) break;
    n += static_cast<size_t>(d.length);
  }
  return n;
}

}  // namespace

struct Pretokenizer::Impl {
  const PretokenizerRow* row;
  std::vector<Code> stages;
  MatchContext context;

  void split_part(const pcre2_code* code, std::string_view part, pcre2_match_data* data,
                  std::vector<std::string_view>& out) const;
};

Pretokenizer::Pretokenizer(std::unique_ptr<const Impl> impl) : impl_(std::move(impl)) {}
Pretokenizer::Pretokenizer(Pretokenizer&&) noexcept = default;
Pretokenizer& Pretokenizer::operator=(Pretokenizer&&) noexcept = default;
Pretokenizer::~Pretokenizer() = default;

std::string Pretokenizer::known_names() {
  std::string names;
  for (const PretokenizerRow& row : pretokenizer_rows()) {
    if (!names.empty()) names += ", ";
    names += row.name;
  }
  return names;
}

Result<Pretokenizer> Pretokenizer::create(std::string_view name) {
  for (const PretokenizerRow& row : pretokenizer_rows()) {
    if (row.name != name) continue;
    auto impl = std::make_unique<Impl>();
    impl->row = &row;
    for (const std::string_view stage : row.stages) impl->stages.push_back(compile(stage));
    impl->context.reset(pcre2_match_context_create(nullptr));
    LM_CHECK(impl->context != nullptr);
    pcre2_set_match_limit(impl->context.get(), pcre::kMatchLimit);
    pcre2_set_heap_limit(impl->context.get(), pcre::kHeapLimit);
    return Pretokenizer(std::move(impl));
  }
  return Error{ErrorCode::unsupported, concat("the pre-tokenizer \"", printable(name),
                                              "\" is not known; known are ", known_names())};
}

bool Pretokenizer::ignores_merges() const {
  return impl_->row->ignores_merges;
}
bool Pretokenizer::adds_bos() const {
  return impl_->row->adds_bos;
}

// A search that fails for another reason than "no match" (a limit) leaves the rest in one word.
void Pretokenizer::Impl::split_part(const pcre2_code* code, std::string_view part,
                                    pcre2_match_data* data,
                                    std::vector<std::string_view>& out) const {
  size_t done = 0;
  while (done < part.size() &&
         pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(part.data()), part.size(), done,
                     PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, data, context.get()) > 0) {
    const PCRE2_SIZE* match = pcre2_get_ovector_pointer(data);
    if (match[0] > done) out.push_back(part.substr(done, match[0] - done));
    out.push_back(part.substr(match[0], match[1] - match[0]));
    done = match[1];
  }
  if (done < part.size()) out.push_back(part.substr(done));
}

void Pretokenizer::split(std::string_view text, std::vector<std::string_view>& words) const {
  const MatchData data(pcre2_match_data_create(1, nullptr));
  LM_CHECK(data != nullptr);
  std::vector<std::string_view> parts, next;
  while (!text.empty()) {
    const size_t n_valid = run_length(text, true);
    parts.assign(n_valid > 0 ? 1 : 0, text.substr(0, n_valid));
    for (const Code& stage : impl_->stages) {
      next.clear();
      for (const std::string_view part : parts)
        impl_->split_part(stage.get(), part, data.get(), next);
      parts.swap(next);
    }
    words.insert(words.end(), parts.begin(), parts.end());
    text.remove_prefix(n_valid);
    const size_t n_invalid = run_length(text, false);
    if (n_invalid > 0) words.push_back(text.substr(0, n_invalid));
    text.remove_prefix(n_invalid);
  }
}

}  // namespace lm
