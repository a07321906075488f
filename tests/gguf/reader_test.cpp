// What a well-formed file gives, and what the typed reads refuse.
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>

#include "gguf/file.h"
#include "tests/gguf/build.h"
#include "tests/support/support.h"

namespace lm::gguf {
namespace {

using test::Bytes;
using test::error_of;
using test::RawGguf;
using test::require_ok;

TEST_CASE("a file of either version is read") {
  for (const uint32_t version : {2u, 3u}) {
    RawGguf raw;
    raw.version = version;
    raw.u32("k", 7).tensor("t", {2, 3}, RawGguf::kF32, 0).tensor("u", {1}, RawGguf::kF32, 32);
    const Bytes bytes = raw.data(36);
    const File file = require_ok(File::parse(bytes));
    CHECK(file.version() == version);
    CHECK(file.file_bytes() == bytes.size());
    REQUIRE(file.tensors().size() == 2);
    CHECK(file.tensor("t") == &file.tensors()[0]);
    CHECK(file.tensor("t")->n_dims == 2);
    CHECK(file.tensor("t")->dims == std::array<int64_t, 4>{2, 3, 1, 1});
    CHECK(file.tensor("t")->bytes.size() == 24);
    CHECK(file.tensor("u")->bytes[0] == std::byte{32});
    CHECK(file.tensor("") == nullptr);
    CHECK(file.tensor("v") == nullptr);
    CHECK(file.value("absent") == nullptr);
  }
}

TEST_CASE("an empty file of the format has nothing in it") {
  const Bytes bytes = RawGguf().header();
  const File file = require_ok(File::parse(bytes));
  CHECK(file.tensors().empty());
  CHECK(file.keys().empty());
  CHECK(file.tensor("t") == nullptr);
}

TEST_CASE("tensors may lie in another order than they are named, and have gaps") {
  const Bytes bytes = RawGguf()
                          .tensor("late", {4}, RawGguf::kF32, 64)
                          .tensor("early", {4}, RawGguf::kF32, 0)
                          .data(80);
  const File file = require_ok(File::parse(bytes));
  CHECK(file.tensor("late")->bytes[0] == std::byte{64});
  CHECK(file.tensor("early")->bytes[0] == std::byte{0});
}

TEST_CASE("a scalar has one dimension of length 1") {
  const Bytes bytes = RawGguf().tensor("s", {}, RawGguf::kF32, 0).data(4);
  const File file = require_ok(File::parse(bytes));
  CHECK(file.tensor("s")->n_dims == 1);
  CHECK(file.tensor("s")->dims == std::array<int64_t, 4>{1, 1, 1, 1});
  CHECK(file.tensor("s")->bytes.size() == 4);
}

TEST_CASE("the alignment may be any integer type and stand after other keys") {
  const Bytes bytes = RawGguf()
                          .string("a", "b")
                          .number("general.alignment", ValueType::u64, uint64_t{64})
                          .tensor("t", {1}, RawGguf::kF32, 64)
                          .data(68, 64);
  const File file = require_ok(File::parse(bytes));
  CHECK(file.alignment() == 64);
  CHECK(file.tensor("t")->bytes[0] == std::byte{64});
}

TEST_CASE("many tensors are found by name") {
  RawGguf raw;
  for (int i = 0; i < 5000; ++i) {
    raw.tensor("blk." + std::to_string(i) + ".w", {1}, RawGguf::kF32, uint64_t(i) * 32);
  }
  const Bytes bytes = raw.data(5000 * 32);
  const File file = require_ok(File::parse(bytes));
  for (int i = 0; i < 5000; i += 7) {
    const TensorInfo* tensor = file.tensor("blk." + std::to_string(i) + ".w");
    REQUIRE(tensor != nullptr);
    REQUIRE(tensor == &file.tensors()[size_t(i)]);
  }
}

TEST_CASE("integers are accepted where their value fits") {
  RawGguf raw;
  raw.number("small", ValueType::u8, uint8_t{255});
  raw.number("minus", ValueType::i16, int16_t{-1});
  raw.number("wide", ValueType::i64, int64_t{1} << 32);
  raw.number("huge", ValueType::u64, std::numeric_limits<uint64_t>::max());
  raw.number("float", ValueType::f32, 1.0f);
  raw.number("flag", ValueType::boolean, uint8_t{1});
  const Bytes bytes = raw.data(0);
  const File file = require_ok(File::parse(bytes));
  CHECK(require_ok(file.u32("small")) == 255);
  CHECK(require_ok(file.i64("minus")) == -1);
  CHECK(require_ok(file.i64("wide")) == int64_t{1} << 32);
  CHECK(error_of(file.u32("minus")) == "metadata key minus: expected 0 to 4294967295, found -1");
  CHECK(error_of(file.u32("wide")) ==
        "metadata key wide: expected 0 to 4294967295, found 4294967296");
  CHECK(error_of(file.i64("huge")) ==
        "metadata key huge: expected less than 2^63, found 18446744073709551615");
  CHECK(error_of(file.u32("float")) == "metadata key float: expected an integer, found f32");
  CHECK(error_of(file.u32("flag")) == "metadata key flag: expected an integer, found boolean");
  CHECK(error_of(file.u32("none")) == "metadata key none is missing");
}

TEST_CASE("floats are accepted where they fit") {
  RawGguf raw;
  raw.number("f64", ValueType::f64, 0.5);
  raw.number("large", ValueType::f64, 1e300);
  raw.number("inf", ValueType::f64, std::numeric_limits<double>::infinity());
  raw.u32("int", 1);
  const Bytes bytes = raw.data(0);
  const File file = require_ok(File::parse(bytes));
  CHECK(require_ok(file.f32("f64")) == 0.5f);
  CHECK(std::isinf(require_ok(file.f32("inf"))));
  CHECK(error_of(file.f32("large")) == "metadata key large: expected a 32-bit float, found 1e+300");
  CHECK(error_of(file.f32("int")) == "metadata key int: expected a float, found u32");
}

TEST_CASE("a key of one type is never read as another") {
  Bytes numbers;
  for (int32_t i = 0; i < 3; ++i) test::put(numbers, i);
  Bytes words;
  test::put_string(words, "a");
  Bytes wide;
  test::put(wide, int64_t{1} << 31);
  Bytes large;
  test::put(large, 1e300);
  Bytes flags = {std::byte{1}, std::byte{0}};
  RawGguf raw;
  raw.u32("number", 1).string("text", "word");
  raw.array("numbers", uint32_t(ValueType::i32), 3, numbers);
  raw.array("words", uint32_t(ValueType::string), 1, words);
  raw.array("wide", uint32_t(ValueType::i64), 1, wide);
  raw.array("large", uint32_t(ValueType::f64), 1, large);
  raw.array("flags", uint32_t(ValueType::boolean), 2, flags);
  const Bytes bytes = raw.data(0);
  const File file = require_ok(File::parse(bytes));

  CHECK(require_ok(file.i32s("numbers")) == std::vector<int32_t>{0, 1, 2});
  CHECK(require_ok(file.i32s("flags")) == std::vector<int32_t>{1, 0});
  CHECK(error_of(file.u32("text")) == "metadata key text: expected an integer, found string");
  CHECK(error_of(file.u32("numbers")) ==
        "metadata key numbers: expected an integer, found array of i32");
  CHECK(error_of(file.str("number")) == "metadata key number: expected a string, found u32");
  CHECK(error_of(file.boolean("number")) == "metadata key number: expected a boolean, found u32");
  CHECK(error_of(file.strs("text")) ==
        "metadata key text: expected an array of strings, found string");
  CHECK(error_of(file.strs("numbers")) ==
        "metadata key numbers: expected an array of strings, found array of i32");
  CHECK(error_of(file.i32s("words")) ==
        "metadata key words: expected an array of integers, found array of string");
  CHECK(error_of(file.i32s("number")) ==
        "metadata key number: expected an array of integers, found u32");
  CHECK(error_of(file.f32s("numbers")) ==
        "metadata key numbers: expected an array of floats, found array of i32");
  CHECK(error_of(file.i32s("wide")) ==
        "metadata key wide: expected 32-bit integers, found a larger one at index 0");
  CHECK(error_of(file.f32s("large")) ==
        "metadata key large: expected 32-bit floats, found a larger one at index 0");

  // A fallback is for an absent key, not for a wrong one.
  CHECK(require_ok(file.u32_or("absent", 9)) == 9);
  CHECK(require_ok(file.f32_or("absent", 0.5f)) == 0.5f);
  CHECK(require_ok(file.boolean_or("absent", true)));
  CHECK(require_ok(file.str_or("absent", "x")) == "x");
  CHECK(require_ok(file.u32_or("number", 9)) == 1);
  CHECK_FALSE(file.u32_or("text", 9).ok());
  CHECK_FALSE(file.f32_or("text", 9).ok());
  CHECK_FALSE(file.boolean_or("text", true).ok());
  CHECK_FALSE(file.str_or("number", "x").ok());
}

}  // namespace
}  // namespace lm::gguf
