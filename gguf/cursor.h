// gguf/cursor.h — reads little-endian numbers and strings from bytes that nobody vouches for.
// Every read is compared with what remains before it happens; a failed read leaves the cursor
// still.
#pragma once
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>

namespace lm::gguf {

static_assert(std::endian::native == std::endian::little, "numbers are copied as they are stored");

// The T stored at `at`, which may be unaligned.
template <class T>
T load(const std::byte* at) {
  static_assert(std::is_trivially_copyable_v<T>);
  T value;
  std::memcpy(&value, at, sizeof(T));
  return value;
}

class Cursor {
 public:
  explicit Cursor(std::span<const std::byte> bytes) : bytes_(bytes) {}

  uint64_t at() const { return at_; }
  uint64_t remaining() const { return bytes_.size() - at_; }

  std::optional<std::span<const std::byte>> take(uint64_t n) {
    if (n > remaining()) return std::nullopt;
    const auto part = bytes_.subspan(size_t(at_), size_t(n));
    at_ += n;
    return part;
  }

  template <class T>
  std::optional<T> number() {
    const auto part = take(sizeof(T));
    if (!part) return std::nullopt;
    return load<T>(part->data());
  }

  // A u64 length, then so many bytes.
  std::optional<std::string_view> string() {
    const uint64_t start = at_;
    const std::optional<uint64_t> length = number<uint64_t>();
    const auto text = length ? take(*length) : std::nullopt;
    if (!text) {
      at_ = start;
      return std::nullopt;
    }
    return std::string_view(reinterpret_cast<const char*>(text->data()), text->size());
  }

 private:
  std::span<const std::byte> bytes_;
  uint64_t at_ = 0;
};

}  // namespace lm::gguf
