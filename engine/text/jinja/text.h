// engine/text/jinja/text.h — a string that remembers which of its bytes came from the input.
// A conversation's content must not turn into control tokens when the rendered prompt is encoded,
// however the template cuts, trims and joins it: so every string of a template carries its input
// ranges along.
#pragma once
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/core/text_range.h"

namespace lm::jinja {

class Text {
 public:
  enum class Origin { program, input };  // program: the template, or whoever runs it

  Text() = default;
  explicit Text(std::string bytes, Origin origin = Origin::program);

  std::string_view bytes() const { return bytes_; }
  size_t size() const { return bytes_.size(); }
  bool empty() const { return bytes_.empty(); }
  const std::vector<TextRange>& input() const { return input_; }  // ascending, apart
  Origin origin() const { return input_.empty() ? Origin::program : Origin::input; }
  size_t cost() const { return bytes_.size() + input_.size() * sizeof(TextRange); }  // bytes

  void append(std::string_view bytes, Origin origin = Origin::program);
  void append(const Text& text);
  void append(const Text& text, size_t begin, size_t end);
  Text slice(size_t begin, size_t end) const;

  std::pair<std::string, std::vector<TextRange>> take() &&;

 private:
  void add_input(size_t begin, size_t end);

  std::string bytes_;
  std::vector<TextRange> input_;
};

}  // namespace lm::jinja
