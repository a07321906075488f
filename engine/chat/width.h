// engine/chat/width.h — how many cells of a terminal a text takes. What people see as one character
// (a grapheme cluster: a letter with its accents, an emoji of several) is never torn.
// Source: Unicode Standard Annexes 11 (East Asian Width) and 29 (Text Segmentation), as utf8proc
// has them.
#pragma once
#include <cstddef>
#include <string>
#include <string_view>

namespace lm::chat {

struct Cluster {
  size_t bytes;  // 0: the text is empty
  int width;     // cells: 0, 1 or 2
};
Cluster first_cluster(std::string_view text);

int char_width(char32_t c);  // on its own: 0 for what combines
int text_width(std::string_view text);

// `text` in at most `columns` cells; what is longer ends in "…".
std::string fitted(std::string_view text, int columns);

}  // namespace lm::chat
