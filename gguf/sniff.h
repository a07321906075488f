// gguf/sniff.h — says in words what a file is that should have been GGUF.
#pragma once
#include <cstddef>
#include <span>
#include <string>

namespace lm::gguf {

// For the end of "expected a GGUF file, found ...": "an empty file", "a safetensors file", ...
std::string describe_other_file(std::span<const std::byte> bytes);

}  // namespace lm::gguf
