// Files made to break a parser: each must be refused in one clear sentence.
#include <cstdint>
#include <string>

#include "gguf/file.h"
#include "tests/gguf/build.h"
#include "tests/support/support.h"

namespace lm::gguf {
namespace {

using test::Bytes;
using test::RawGguf;

constexpr uint32_t kQ8 = 8;
constexpr uint64_t kHuge = uint64_t{1} << 62;

Bytes text_bytes(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

TEST_CASE("a file of another format is named") {
  CHECK_REFUSED({}, "expected a GGUF file, found an empty file");
  CHECK_REFUSED(text_bytes("ggjt"), "found a file of 4 bytes that starts with 67 67 6a 74");
  CHECK_REFUSED(text_bytes("tjgg\3\0\0\0"), "a GGJT file from before GGUF");
  CHECK_REFUSED(text_bytes("PK\x03\x04...."), "a zip archive");
  CHECK_REFUSED(text_bytes("<!DOCTYPE html>"), "a web page");
  CHECK_REFUSED(text_bytes("version https://git-lfs.github.com/spec/v1\n"), "a Git LFS pointer");
  CHECK_REFUSED(text_bytes(std::string_view("\x10\0\0\0\0\0\0\0{\"__metadata__\":", 24)),
                "a safetensors file");
  CHECK_REFUSED(text_bytes("{\"model_type\": \"llama\"}"), "JSON text");
  CHECK_REFUSED(Bytes(4096), "zeros");
  CHECK_REFUSED(text_bytes("GG"), "found a file of 2 bytes that starts with 47 47");
}

TEST_CASE("big-endian files and unknown versions are named") {
  RawGguf raw;
  raw.version = 0x03000000;
  CHECK_REFUSED(raw.header(), "expected a little-endian GGUF file, found a big-endian one");
  for (const uint32_t version : {0u, 1u, 4u, 0xFFFFFFFFu}) {
    raw.version = version;
    CHECK_REFUSED(raw.header(),
                  "expected GGUF version 2 or 3, found version " + std::to_string(version));
  }
  RawGguf swapped;
  swapped.magic = "FUGG";
  CHECK_REFUSED(swapped.header(), "big-endian");
}

TEST_CASE("a file cut at any byte is refused") {
  Bytes words;
  test::put_string(words, "a");
  test::put_string(words, "bc");
  const Bytes whole = RawGguf()
                          .u32("k", 1)
                          .string("s", "text")
                          .array("a", uint32_t(ValueType::string), 2, words)
                          .tensor("t", {2, 2}, RawGguf::kF32, 0)
                          .tensor("u", {32}, kQ8, 32)
                          .data(32 + 34);
  REQUIRE(File::parse(whole).ok());
  for (size_t n = 0; n < whole.size(); ++n) {
    CAPTURE(n);
    // A copy of exactly n bytes, so that a sanitizer sees a read past the end.
    const Bytes part(whole.begin(), whole.begin() + std::ptrdiff_t(n));
    const Result<File> file = File::parse(part);
    REQUIRE_FALSE(file.ok());
    CHECK(file.error().code == ErrorCode::bad_file);
    CHECK(file.error().message.find("expected") != std::string::npos);
  }
}

TEST_CASE("a byte changed anywhere never breaks the parser") {
  const Bytes whole = RawGguf()
                          .u32("general.alignment", 32)
                          .string("s", "text")
                          .tensor("t", {2, 2}, RawGguf::kF32, 0)
                          .tensor("u", {32}, kQ8, 32)
                          .data(32 + 34);
  for (size_t at = 0; at < whole.size(); ++at) {
    for (const int value : {0, 1, 0x7F, 0x80, 0xFF}) {
      Bytes changed = whole;
      changed[at] = std::byte(value);
      const Result<File> file = File::parse(changed);
      if (!file.ok()) CHECK_FALSE(file.error().message.empty());
    }
  }
}

TEST_CASE("counts that the file has no room for are refused") {
  for (const uint64_t extra : {uint64_t{1}, uint64_t{1} << 20, kHuge, ~uint64_t{0} - 1}) {
    CAPTURE(extra);
    RawGguf tensors;
    tensors.tensor("t", {1}, RawGguf::kF32, 0);
    tensors.extra_tensors = extra;
    CHECK_REFUSED(tensors.data(4), "expected");
    RawGguf keys;
    keys.u32("k", 1);
    keys.extra_keys = extra;
    CHECK_REFUSED(keys.header(), "expected");
  }
  // Counts × the size of an item would wrap to a small number.
  RawGguf wrapping;
  wrapping.extra_tensors = (uint64_t{1} << 61) + 1;
  CHECK_REFUSED(wrapping.header(), "found a count of 2305843009213693953");
}

TEST_CASE("huge strings and arrays in a tiny file are refused") {
  for (const uint64_t n : {uint64_t{100}, kHuge, ~uint64_t{0}, ~uint64_t{0} - 7}) {
    CAPTURE(n);
    Bytes length;
    test::put(length, n);
    CHECK_REFUSED(RawGguf().key("s", uint32_t(ValueType::string), length).header(),
                  "found the end of the file");
    for (uint32_t type = 0; type <= uint32_t(ValueType::f64); ++type) {
      CHECK_REFUSED(RawGguf().array("a", type, n, Bytes(4)).header(), "found the end of the file");
    }
  }
  // count × 8 wraps to 0.
  CHECK_REFUSED(RawGguf().array("a", uint32_t(ValueType::u64), uint64_t{1} << 61, {}).header(),
                "a: expected 2305843009213693952 values of type u64");
}

TEST_CASE("nested arrays are read to a bounded depth") {
  const auto nested = [](int depth) {  // [[[5]]]
    Bytes elements;
    for (int i = 1; i < depth; ++i) {
      test::put(elements, uint32_t(i + 1 < depth ? ValueType::array : ValueType::u8));
      test::put(elements, uint64_t{1});
    }
    elements.push_back(std::byte{5});
    return RawGguf()
        .array("a", uint32_t(depth > 1 ? ValueType::array : ValueType::u8), 1, elements)
        .header();
  };
  CHECK(File::parse(nested(4)).ok());
  CHECK_REFUSED(nested(5), "a: expected arrays nested at most 4 deep");
  CHECK_REFUSED(nested(100000), "a: expected arrays nested at most 4 deep");
}

TEST_CASE("unknown types are refused") {
  CHECK_REFUSED(RawGguf().key("k", 13, Bytes(16)).header(),
                "k: expected a value type from 0 to 12, found 13");
  CHECK_REFUSED(RawGguf().key("k", 0xFFFFFFFF, Bytes(16)).header(), "found 4294967295");
  CHECK_REFUSED(RawGguf().array("k", 13, 1, Bytes(16)).header(),
                "k: expected an element type from 0 to 12, found 13");
  for (const uint32_t type : {4u, 5u, 1000u, 0xFFFFFFFFu}) {  // 4 and 5: q4_2 and q4_3, removed
    CHECK_REFUSED(RawGguf().tensor("t", {32}, type, 0).data(64),
                  "tensor t: expected a known tensor type, found number " + std::to_string(type));
  }
}

TEST_CASE("booleans other than 0 and 1 are refused") {
  CHECK_REFUSED(RawGguf().number("b", ValueType::boolean, uint8_t{2}).header(),
                "b: expected a boolean of 0 or 1, found 2");
  const Bytes flags = {std::byte{0}, std::byte{1}, std::byte{255}};
  CHECK_REFUSED(RawGguf().array("b", uint32_t(ValueType::boolean), 3, flags).header(), "found 255");
}

TEST_CASE("bad alignments are refused") {
  for (const uint32_t n : {0u, 1u, 4u, 12u, 33u, 0x80000000u, 0xFFFFFFFFu}) {
    CHECK_REFUSED(
        RawGguf().u32("general.alignment", n).tensor("t", {1}, 0, 0).data(64),
        "general.alignment: expected a power of two from 8 to 2097152, found " + std::to_string(n));
  }
  CHECK_REFUSED(RawGguf().number("general.alignment", ValueType::i32, int32_t{-32}).header(),
                "general.alignment: expected a power of two");
  CHECK_REFUSED(RawGguf().number("general.alignment", ValueType::u64, uint64_t{1} << 63).header(),
                "general.alignment: expected");
  CHECK_REFUSED(RawGguf().string("general.alignment", "32").header(),
                "general.alignment: expected an integer, found a value of type string");
  CHECK_REFUSED(RawGguf().array("general.alignment", uint32_t(ValueType::u32), 0, {}).header(),
                "general.alignment: expected an integer, found a value of type array");
  // Padding that leads past the end.
  CHECK_REFUSED(RawGguf().u32("general.alignment", 1 << 21).tensor("t", {1}, 0, 0).data(64),
                "padding and tensor data");
}

TEST_CASE("shapes that overflow or are empty are refused") {
  const auto with = [](const std::vector<uint64_t>& dims, uint32_t type = 0) {
    return RawGguf().tensor("t", dims, type, 0).data(64);
  };
  CHECK_REFUSED(with({1, 1, 1, 1, 1}), "tensor t: expected at most 4 dimensions, found 5");
  CHECK_REFUSED(with({0}), "tensor t: expected dimension 0 to be at least 1, found 0");
  CHECK_REFUSED(with({4, 0, 4}), "tensor t: expected dimension 1 to be at least 1, found 0");
  CHECK_REFUSED(with({kHuge, 0}), "expected dimension 1 to be at least 1");
  CHECK_REFUSED(with({uint64_t{1} << 63}), "tensor t: expected a dimension below 2^63");
  CHECK_REFUSED(with({~uint64_t{0}, ~uint64_t{0}}), "tensor t: expected a dimension below 2^63");
  CHECK_REFUSED(with({uint64_t{1} << 32, uint64_t{1} << 32}), "expected fewer than 2^63 elements");
  CHECK_REFUSED(with({kHuge, 2}), "expected fewer than 2^63 elements");
  CHECK_REFUSED(with({3, 0x5555555555555556, 3, 3}), "expected fewer than 2^63 elements");
  CHECK_REFUSED(with({kHuge}), "expected fewer than 2^63 bytes");  // × 4 wraps to 0
  CHECK_REFUSED(with({uint64_t{1} << 61, 1}), "expected fewer than 2^63 bytes");
  CHECK_REFUSED(with({kHuge, 1}, 24), "tensor t: expected it inside the file");  // i8
  CHECK_REFUSED(with({33}, kQ8), "expected rows of a multiple of 32 elements in q8_0, found 33");
  CHECK_REFUSED(with({16, 2}, kQ8), "expected rows of a multiple of 32 elements in q8_0, found 16");

  Bytes many = RawGguf().header();  // n_dims alone, with nothing behind it
  many[8] = std::byte{1};
  test::put_string(many, "t");
  test::put(many, uint32_t{0xFFFFFFFF});
  many.resize(many.size() + 64);
  CHECK_REFUSED(many, "expected at most 4 dimensions, found 4294967295");
}

TEST_CASE("tensor data outside the file is refused") {
  const auto at = [](uint64_t offset) {
    return RawGguf().tensor("t", {4}, RawGguf::kF32, offset).data(64);
  };
  CHECK(File::parse(at(32)).ok());
  CHECK_REFUSED(at(64),
                "tensor t: expected it inside the 64 bytes of tensor data, found offset 64");
  CHECK_REFUSED(at(1), "tensor t: expected an offset that is a multiple of 32, found 1");
  CHECK_REFUSED(at(kHuge), "expected it inside the 64 bytes");
  CHECK_REFUSED(at(~uint64_t{0} - 31), "expected it inside the 64 bytes");  // + length wraps
  CHECK_REFUSED(at(0 - uint64_t{64}), "expected it inside the 64 bytes");
  CHECK_REFUSED(RawGguf().tensor("t", {17}, RawGguf::kF32, 0).data(64), "length 68");
}

TEST_CASE("tensors that share bytes are refused") {
  CHECK_REFUSED(RawGguf().tensor("a", {4}, 0, 0).tensor("b", {4}, 0, 0).data(64), "overlap");
  CHECK_REFUSED(RawGguf().tensor("a", {4}, 0, 32).tensor("b", {12}, 0, 0).data(64),
                "tensors b and a overlap");
}

TEST_CASE("names must be unique, and text") {
  CHECK_REFUSED(RawGguf().u32("k", 1).u32("j", 1).u32("k", 2).header(),
                "metadata key k occurs twice");
  CHECK_REFUSED(RawGguf().tensor("t", {4}, 0, 0).tensor("t", {4}, 0, 32).data(64),
                "tensor t occurs twice");
  CHECK_REFUSED(RawGguf().u32("", 1).u32("k", 1).header(), "expected the name of a metadata key");
  CHECK_REFUSED(RawGguf().u32("\xC3(", 1).header(), "UTF-8, found 2 bytes '?('");
  CHECK_REFUSED(RawGguf().u32(std::string(70000, 'k'), 1).header(), "found 70000 bytes");
  CHECK_REFUSED(RawGguf().tensor("", {4}, 0, 0).data(64), "expected the name of a tensor");
  CHECK_REFUSED(RawGguf().tensor("\xFF", {4}, 0, 0).data(64), "expected the name of a tensor");
  // Control characters of a name do not reach the terminal.
  CHECK_REFUSED(RawGguf().key("\x1B[2J\n", 99, Bytes(8)).header(), "?[2J?: expected a value type");
}

TEST_CASE("many equal prefixes, keys and tiny values stay cheap") {
  // The most keys per byte, and tensors whose long names differ at the end only.
  RawGguf raw;
  for (uint32_t i = 0; i < 60000; ++i) {
    raw.number(std::string(1, char('a' + i % 26)) + std::to_string(i), ValueType::u8, uint8_t{1});
  }
  for (uint64_t i = 0; i < 20000; ++i) {
    raw.tensor(std::string(100, 'x') + std::to_string(i), {1}, RawGguf::kF32, i * 32);
  }
  const Bytes bytes = raw.data(20000 * 32);
  const File file = test::require_ok(File::parse(bytes));
  CHECK(file.keys().size() == 60000);
  CHECK(file.tensors().size() == 20000);

  RawGguf crowded;
  for (uint32_t i = 0; i <= 65536; ++i) crowded.u32("k" + std::to_string(i), i);
  CHECK_REFUSED(crowded.header(), "expected at most 65536 metadata keys");
}

TEST_CASE("refusing the largest tables costs little memory") {
  const test::TempDir folder;
  const auto path = folder.path() / "hostile.gguf";
  RawGguf raw;
  for (uint64_t i = 0; i < uint64_t{1} << 18; ++i) raw.tensor("t", {}, RawGguf::kF32, i * 32);
  test::write_bytes(path, raw.header());
  const std::optional<uint64_t> cost = test::peak_cost([&] {
    const Result<File> file = File::open(path);
    REQUIRE_FALSE(file.ok());
    CHECK(file.error().message.find("padding and tensor data") != std::string::npos);
  });
  if (!cost) LM_SKIP("the peak of memory cannot be measured here");
  INFO("peak: ", *cost / 1000000.0, " MB");
  CHECK(*cost < (uint64_t{64} << 20));
}

}  // namespace
}  // namespace lm::gguf
