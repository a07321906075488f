// tests/gguf/build.h — GGUF files made by hand, byte by byte, so that a test can make wrong ones.
#pragma once
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/file.h"
#include "engine/core/machine.h"
#include "gguf/file.h"
#include "tests/support/support.h"

namespace lm::test {

using Bytes = std::vector<std::byte>;

template <class T>
void put(Bytes& out, T value) {
  const auto* at = reinterpret_cast<const std::byte*>(&value);
  out.insert(out.end(), at, at + sizeof value);
}
inline void put_string(Bytes& out, std::string_view text) {
  put(out, uint64_t(text.size()));
  for (const char c : text) out.push_back(std::byte(c));
}

// A file in the order of its sections: RawGguf().u32("k", 1).tensor("t", {4}, kF32, 0).data(16).
// Counts follow what was added unless they are set.
class RawGguf {
 public:
  static constexpr uint32_t kF32 = 0;

  uint32_t version = 3;
  std::string magic = "GGUF";
  uint64_t extra_tensors = 0;  // added to the true counts
  uint64_t extra_keys = 0;

  // A key with a type number and a payload given as bytes.
  RawGguf& key(std::string_view name, uint32_t type, const Bytes& payload) {
    put_string(metadata_, name);
    put(metadata_, type);
    metadata_.insert(metadata_.end(), payload.begin(), payload.end());
    ++n_keys_;
    return *this;
  }
  template <class T>
  RawGguf& number(std::string_view name, gguf::ValueType type, T value) {
    Bytes payload;
    put(payload, value);
    return key(name, uint32_t(type), payload);
  }
  RawGguf& u32(std::string_view name, uint32_t value) {
    return number(name, gguf::ValueType::u32, value);
  }
  RawGguf& string(std::string_view name, std::string_view value) {
    Bytes payload;
    put_string(payload, value);
    return key(name, uint32_t(gguf::ValueType::string), payload);
  }
  // An array whose count and elements need not agree.
  RawGguf& array(std::string_view name, uint32_t element_type, uint64_t count,
                 const Bytes& elements) {
    Bytes payload;
    put(payload, element_type);
    put(payload, count);
    payload.insert(payload.end(), elements.begin(), elements.end());
    return key(name, uint32_t(gguf::ValueType::array), payload);
  }
  RawGguf& tensor(std::string_view name, const std::vector<uint64_t>& dims, uint32_t type,
                  uint64_t offset) {
    put_string(tensors_, name);
    put(tensors_, uint32_t(dims.size()));
    for (const uint64_t dim : dims) put(tensors_, dim);
    put(tensors_, type);
    put(tensors_, offset);
    ++n_tensors_;
    return *this;
  }

  // The file, with padding to `alignment` and `n` bytes of tensor data 0, 1, 2, ...
  Bytes data(size_t n, size_t alignment = 32) const {
    Bytes out = header();
    out.resize((out.size() + alignment - 1) / alignment * alignment);
    for (size_t i = 0; i < n; ++i) out.push_back(std::byte(i));
    return out;
  }
  Bytes header() const {
    Bytes out;
    for (const char c : magic) out.push_back(std::byte(c));
    put(out, version);
    put(out, n_tensors_ + extra_tensors);
    put(out, n_keys_ + extra_keys);
    out.insert(out.end(), metadata_.begin(), metadata_.end());
    out.insert(out.end(), tensors_.begin(), tensors_.end());
    return out;
  }

 private:
  Bytes metadata_, tensors_;
  uint64_t n_keys_ = 0, n_tensors_ = 0;
};

inline void write_bytes(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  FileWriter file = require_ok(FileWriter::create(path));
  REQUIRE(file.write(bytes).ok());
  REQUIRE(file.commit().ok());
}

// Bytes by which the resident set rises at its highest while `action` runs, mapped files included;
// nullopt where the kernel does not let a process reset its peak (proc(5), clear_refs), and under
// sanitizers, which keep freed memory.
template <class Action>
std::optional<uint64_t> peak_cost(const Action& action) {
  const auto reset_peak = [] {
    return bool(std::ofstream("/proc/self/clear_refs") << 5 << std::flush);
  };
  if (kSanitized || !reset_peak()) return std::nullopt;
  const uint64_t before = peak_rss();
  action();
  return peak_rss() - before;
}

// The message of a Result that must be an Error.
template <class T>
std::string error_of(const Result<T>& result) {
  return result.ok() ? std::string("(accepted)") : result.error().message;
}

// That an error's message holds these words.
#define CHECK_SAYS(message_of, words)                                              \
  do {                                                                             \
    const std::string message = message_of;                                        \
    CHECK_MESSAGE(message.find(words) != std::string::npos, std::string(message)); \
  } while (false)

#define CHECK_REFUSED(bytes, words) \
  CHECK_SAYS(::lm::test::error_of(::lm::gguf::File::parse(bytes)), words)

}  // namespace lm::test
