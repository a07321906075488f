#include "gguf/sniff.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <string_view>

#include "engine/core/text.h"
#include "gguf/cursor.h"

namespace lm::gguf {
namespace {

struct Kind {
  std::string_view start;  // the first bytes of such a file
  std::string_view words;
};

// What people pass by mistake, most telling first.
constexpr std::array<Kind, 14> kKinds = {{
    {"FUGG", "a big-endian GGUF file (only little-endian ones are read)"},
    {"lmgg", "a GGML file from before GGUF (convert the original model again)"},
    {"fmgg", "a GGMF file from before GGUF (convert the original model again)"},
    {"tjgg", "a GGJT file from before GGUF (convert the original model again)"},
    {"algg", "a GGLA adapter from before GGUF"},
    {"PK\x03\x04", "a zip archive (a PyTorch checkpoint?)"},
    {"\x80\x02", "a Python pickle (a PyTorch checkpoint?)"},
    {"\x1f\x8b", "gzip-compressed data"},
    {"\x7f"
     "ELF",
     "a program (ELF)"},
    {"version https://git-lfs", "a Git LFS pointer (the model itself was not downloaded)"},
    {"<!DOCTYPE", "a web page"},
    {"<!doctype", "a web page"},
    {"<html", "a web page"},
    {"{", "JSON text"},
}};

}  // namespace

std::string describe_other_file(std::span<const std::byte> bytes) {
  if (bytes.empty()) return "an empty file";
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  for (const Kind& kind : kKinds) {
    if (text.starts_with(kind.start)) return std::string(kind.words);
  }
  if (bytes.size() > 9 && load<uint64_t>(bytes.data()) < bytes.size() && text[8] == '{') {
    return "a safetensors file (`llm convert` makes a GGUF file of a model folder)";
  }
  const auto start = bytes.first(std::min<size_t>(64, bytes.size()));
  if (std::all_of(start.begin(), start.end(), [](std::byte b) { return b == std::byte{0}; })) {
    return "zeros (an unfinished download?)";
  }
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string hex;
  for (const std::byte b : start.first(std::min<size_t>(4, start.size()))) {
    if (!hex.empty()) hex += ' ';
    hex += kHex[size_t(b) >> 4];
    hex += kHex[size_t(b) & 15];
  }
  return concat("a file of ", bytes.size(), " bytes that starts with ", hex);
}

}  // namespace lm::gguf
