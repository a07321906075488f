// engine/text/byte_alphabet.h — the printable alphabet in which byte-level BPE vocabularies are
// written. Bytes that are printable in Latin-1 stand for themselves; the 68 others stand for
// U+0100, U+0101, ... in order ("Ġ" is the space). Source: Radford et al. 2019 (GPT-2),
// bytes_to_unicode.
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace lm {

class ByteAlphabet {
 public:
  ByteAlphabet();

  // The letters for `bytes`.
  std::string spell(std::string_view bytes) const;
  // The bytes that `letters` spell; nullopt when a character is not of this alphabet.
  std::optional<std::string> read(std::string_view letters) const;

 private:
  std::array<std::string, 256> letter_;  // UTF-8, one or two bytes
  std::array<int16_t, 256 + 68> byte_;   // by code point; -1: not of the alphabet
};

}  // namespace lm
