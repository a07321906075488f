#include "engine/core/utf8.h"

#include <algorithm>

namespace lm::utf8 {
namespace {

// What a lead byte promises: the sequence length and the range of its second byte.
struct Lead {
  int length;
  unsigned char second_min, second_max;
};

Lead lead_of(unsigned char b) {
  if (b < 0x80) return {1, 0, 0};
  if (b < 0xC2) return {0, 0, 0};
  if (b < 0xE0) return {2, 0x80, 0xBF};
  if (b == 0xE0) return {3, 0xA0, 0xBF};
  if (b == 0xED) return {3, 0x80, 0x9F};
  if (b < 0xF0) return {3, 0x80, 0xBF};
  if (b == 0xF0) return {4, 0x90, 0xBF};
  if (b < 0xF4) return {4, 0x80, 0xBF};
  if (b == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

// How many bytes at the start of `text` agree with what its lead byte promises.
int matching_bytes(std::string_view text, const Lead& lead) {
  int n = 1;
  for (; n < lead.length && size_t(n) < text.size(); ++n) {
    const auto b = static_cast<unsigned char>(text[size_t(n)]);
    const unsigned char lo = n == 1 ? lead.second_min : 0x80;
    const unsigned char hi = n == 1 ? lead.second_max : 0xBF;
    if (b < lo || b > hi) break;
  }
  return n;
}

}  // namespace

Decoded decode(std::string_view text) {
  if (text.empty()) return {0xFFFD, 0, false};
  const auto first = static_cast<unsigned char>(text[0]);
  const Lead lead = lead_of(first);
  if (lead.length == 1) return {first, 1, true};
  if (lead.length == 0) return {0xFFFD, 1, false};
  const int n = matching_bytes(text, lead);
  if (n < lead.length) return {0xFFFD, n, false};
  char32_t c = first & (0x7Fu >> lead.length);
  for (int i = 1; i < lead.length; ++i) {
    c = c << 6 | (static_cast<unsigned char>(text[size_t(i)]) & 0x3Fu);
  }
  return {c, lead.length, true};
}

void append(std::string& out, char32_t c) {
  if (c < 0x80) {
    out.push_back(char(c));
  } else if (c < 0x800) {
    out.push_back(char(0xC0 | c >> 6));
    out.push_back(char(0x80 | (c & 0x3F)));
  } else if (c < 0x10000) {
    out.push_back(char(0xE0 | c >> 12));
    out.push_back(char(0x80 | (c >> 6 & 0x3F)));
    out.push_back(char(0x80 | (c & 0x3F)));
  } else {
    out.push_back(char(0xF0 | c >> 18));
    out.push_back(char(0x80 | (c >> 12 & 0x3F)));
    out.push_back(char(0x80 | (c >> 6 & 0x3F)));
    out.push_back(char(0x80 | (c & 0x3F)));
  }
}

bool is_valid(std::string_view text) {
  while (!text.empty()) {
    const Decoded d = decode(text);
    if (!d.valid) return false;
    text.remove_prefix(size_t(d.length));
  }
  return true;
}

std::string sanitize(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Decoded d = decode(text);
    if (d.valid) {
      out.append(text.substr(0, size_t(d.length)));
    } else {
      append(out, 0xFFFD);
    }
    text.remove_prefix(size_t(d.length));
  }
  return out;
}

size_t complete_prefix(std::string_view text) {
  const size_t first = text.size() - std::min<size_t>(text.size(), 3);
  for (size_t i = text.size(); i-- > first;) {
    const Lead lead = lead_of(static_cast<unsigned char>(text[i]));
    if (lead.length < 2) continue;
    const std::string_view tail = text.substr(i);
    const bool could_continue =
        size_t(lead.length) > tail.size() && size_t(matching_bytes(tail, lead)) == tail.size();
    return could_continue ? i : text.size();
  }
  return text.size();
}

}  // namespace lm::utf8
