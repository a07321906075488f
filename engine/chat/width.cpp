#include "engine/chat/width.h"

#include <utf8proc.h>

#include <algorithm>

#include "engine/core/utf8.h"

namespace lm::chat {
namespace {

constexpr char32_t kEmojiPresentation = 0xFE0F;

bool is_regional_indicator(char32_t c) {
  return c >= 0x1F1E6 && c <= 0x1F1FF;
}

}  // namespace

Cluster first_cluster(std::string_view text) {
  const utf8::Decoded first = utf8::decode(text);
  if (first.length == 0) return {0, 0};
  Cluster cluster{size_t(first.length), utf8proc_charwidth(utf8proc_int32_t(first.code_point))};
  utf8proc_int32_t state = 0;
  for (char32_t before = first.code_point; cluster.bytes < text.size();) {
    const utf8::Decoded next = utf8::decode(text.substr(cluster.bytes));
    if (utf8proc_grapheme_break_stateful(utf8proc_int32_t(before),
                                         utf8proc_int32_t(next.code_point), &state) != 0) {
      break;
    }
    const bool flag = is_regional_indicator(before) && is_regional_indicator(next.code_point);
    if (flag || next.code_point == kEmojiPresentation) cluster.width = 2;
    cluster.width = std::max(cluster.width, utf8proc_charwidth(utf8proc_int32_t(next.code_point)));
    cluster.bytes += size_t(next.length);
    before = next.code_point;
  }
  return cluster;
}

int char_width(char32_t c) {
  return utf8proc_charwidth(utf8proc_int32_t(c));
}

int text_width(std::string_view text) {
  int width = 0;
  while (!text.empty()) {
    const Cluster cluster = first_cluster(text);
    width += cluster.width;
    text.remove_prefix(cluster.bytes);
  }
  return width;
}

std::string fitted(std::string_view text, int columns) {
  if (text_width(text) <= columns) return std::string(text);
  size_t bytes = 0;
  for (int width = 0;;) {
    const Cluster cluster = first_cluster(text.substr(bytes));
    width += cluster.width;
    if (width > columns - 1) break;
    bytes += cluster.bytes;
  }
  return columns < 1 ? std::string() : std::string(text.substr(0, bytes)) + "…";
}

}  // namespace lm::chat
