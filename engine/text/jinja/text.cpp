#include "engine/text/jinja/text.h"

#include <algorithm>

namespace lm::jinja {

Text::Text(std::string bytes, Origin origin) : bytes_(std::move(bytes)) {
  if (origin == Origin::input) add_input(0, bytes_.size());
}

void Text::add_input(size_t begin, size_t end) {
  if (begin == end) return;
  if (!input_.empty() && input_.back().end == begin) {
    input_.back().end = end;
  } else {
    input_.push_back({begin, end});
  }
}

void Text::append(std::string_view bytes, Origin origin) {
  const size_t begin = bytes_.size();
  bytes_.append(bytes);
  if (origin == Origin::input) add_input(begin, bytes_.size());
}

void Text::append(const Text& text) {
  append(text, 0, text.size());
}

void Text::append(const Text& text, size_t begin, size_t end) {
  const size_t base = bytes_.size();
  bytes_.append(text.bytes_, begin, end - begin);
  auto range = std::upper_bound(text.input_.begin(), text.input_.end(), begin,
                                [](size_t at, const TextRange& r) { return at < r.end; });
  for (; range != text.input_.end() && range->begin < end; ++range) {
    add_input(base + std::max(range->begin, begin) - begin,
              base + std::min(range->end, end) - begin);
  }
}

Text Text::slice(size_t begin, size_t end) const {
  Text part;
  part.append(*this, begin, end);
  return part;
}

std::pair<std::string, std::vector<TextRange>> Text::take() && {
  return {std::move(bytes_), std::move(input_)};
}

}  // namespace lm::jinja
