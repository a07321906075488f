#include "engine/text/byte_alphabet.h"

#include "engine/core/utf8.h"

namespace lm {

ByteAlphabet::ByteAlphabet() {
  byte_.fill(-1);
  char32_t next = 0x100;
  for (int b = 0; b < 256; ++b) {
    const bool printable = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
    const char32_t c = printable ? static_cast<char32_t>(b) : next++;
    utf8::append(letter_[static_cast<size_t>(b)], c);
    byte_[c] = static_cast<int16_t>(b);
  }
}

std::string ByteAlphabet::spell(std::string_view bytes) const {
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const char b : bytes) out += letter_[static_cast<unsigned char>(b)];
  return out;
}

std::optional<std::string> ByteAlphabet::read(std::string_view letters) const {
  std::string out;
  out.reserve(letters.size());
  while (!letters.empty()) {
    const utf8::Decoded d = utf8::decode(letters);
    if (!d.valid || d.code_point >= byte_.size() || byte_[d.code_point] < 0) return std::nullopt;
    out.push_back(static_cast<char>(byte_[d.code_point]));
    letters.remove_prefix(static_cast<size_t>(d.length));
  }
  return out;
}

}  // namespace lm
