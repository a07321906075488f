// What the writer writes, the reader reads back.
#include "gguf/writer.h"

#include <array>
#include <cstring>
#include <numeric>

#include "gguf/file.h"
#include "tests/gguf/build.h"
#include "tests/support/support.h"

namespace lm::gguf {
namespace {

using test::require_ok;

std::span<const std::byte> first_bytes(const std::vector<std::byte>& bytes, uint64_t n) {
  return std::span(bytes).first(size_t(n));
}

// Fills tensor i with n_bytes[i] bytes i, i + 1, i + 2, ... in pieces of seven.
Writer::Fill counting(std::vector<size_t> n_bytes) {
  return [n_bytes = std::move(n_bytes)](size_t index, const Writer::Sink& sink) -> Status {
    for (size_t at = 0; at < n_bytes[index]; at += 7) {
      std::vector<std::byte> piece(std::min<size_t>(7, n_bytes[index] - at));
      for (size_t i = 0; i < piece.size(); ++i) piece[i] = std::byte(index + at + i);
      LM_TRY(sink(piece));
    }
    return ok();
  };
}

Status no_tensors(size_t, const Writer::Sink&) {
  return ok();
}

TEST_CASE("metadata comes back as it was set") {
  Writer writer;
  writer.set_str("general.architecture", "llama");
  writer.set_u32("a.u32", 0xFFFFFFFF);
  writer.set_u64("a.u64", uint64_t{1} << 40);
  writer.set_i32("a.i32", -5);
  writer.set_f32("a.f32", 0.1f);
  writer.set_bool("a.yes", true);
  writer.set_bool("a.no", false);
  const std::vector<std::string> words = {"", "one", std::string("\0two", 4), "\xFF"};
  writer.set_strs("a.strs", words);
  const std::vector<int32_t> ints = {-1, 0, 2147483647};
  writer.set_i32s("a.i32s", ints);
  const std::vector<uint32_t> counts = {0, 7};
  writer.set_u32s("a.u32s", counts);
  const std::vector<float> floats = {1.5f, -2.0f};
  writer.set_f32s("a.f32s", floats);
  writer.set_f32s("a.none", {});
  const std::vector<std::byte> bytes = require_ok(writer.to_bytes(no_tensors));

  const File file = require_ok(File::parse(bytes));
  CHECK(file.version() == 3);
  CHECK(file.alignment() == 32);
  CHECK(file.keys().size() == 12);
  CHECK(file.keys()[1] == "a.u32");
  CHECK(require_ok(file.str("general.architecture")) == "llama");
  CHECK(require_ok(file.u32("a.u32")) == 0xFFFFFFFF);
  CHECK(require_ok(file.i64("a.u64")) == int64_t{1} << 40);
  CHECK(require_ok(file.i64("a.i32")) == -5);
  CHECK(require_ok(file.f32("a.f32")) == 0.1f);
  CHECK(require_ok(file.boolean("a.yes")));
  CHECK_FALSE(require_ok(file.boolean("a.no")));
  const auto strs = require_ok(file.strs("a.strs"));
  CHECK(std::vector<std::string>(strs.begin(), strs.end()) == words);
  CHECK(require_ok(file.i32s("a.i32s")) == ints);
  CHECK(require_ok(file.i32s("a.u32s")) == std::vector<int32_t>{0, 7});
  CHECK(require_ok(file.f32s("a.f32s")) == floats);
  CHECK(require_ok(file.f32s("a.none")).empty());
}

TEST_CASE("setting a key again replaces the value and keeps the place") {
  Writer writer;
  writer.set_u32("a", 1);
  writer.set_u32("b", 2);
  writer.set_str("a", "now text");
  const auto bytes = require_ok(writer.to_bytes(no_tensors));
  const File file = require_ok(File::parse(bytes));
  REQUIRE(file.keys().size() == 2);
  CHECK(file.keys()[0] == "a");
  CHECK(require_ok(file.str("a")) == "now text");
}

TEST_CASE("every type of value is copied from file to file") {
  test::RawGguf raw;
  raw.number("u8", ValueType::u8, uint8_t{200});
  raw.number("i8", ValueType::i8, int8_t{-100});
  raw.number("u16", ValueType::u16, uint16_t{60000});
  raw.number("i16", ValueType::i16, int16_t{-30000});
  raw.number("u32", ValueType::u32, uint32_t{4000000000});
  raw.number("i32", ValueType::i32, int32_t{-2000000000});
  raw.number("u64", ValueType::u64, uint64_t{1} << 62);
  raw.number("i64", ValueType::i64, int64_t{-1} << 62);
  raw.number("f32", ValueType::f32, 1.25f);
  raw.number("f64", ValueType::f64, -2.5);
  raw.number("boolean", ValueType::boolean, uint8_t{1});
  raw.string("string", "text");
  test::Bytes nested;  // [[1, 2], ["x"]]
  test::put(nested, uint32_t(ValueType::u8));
  test::put(nested, uint64_t{2});
  test::put(nested, uint8_t{1});
  test::put(nested, uint8_t{2});
  test::put(nested, uint32_t(ValueType::string));
  test::put(nested, uint64_t{1});
  test::put_string(nested, "x");
  raw.array("array", uint32_t(ValueType::array), 2, nested);
  const test::Bytes original = raw.data(0);

  const File from = require_ok(File::parse(original));
  Writer writer;
  for (const std::string_view key : from.keys()) writer.set(key, *from.value(key));
  CHECK(require_ok(writer.to_bytes(no_tensors)) == original);

  CHECK(require_ok(from.i64("u8")) == 200);
  CHECK(require_ok(from.i64("i8")) == -100);
  CHECK(require_ok(from.i64("u16")) == 60000);
  CHECK(require_ok(from.i64("i16")) == -30000);
  CHECK(require_ok(from.u32("u32")) == 4000000000);
  CHECK(require_ok(from.i64("i32")) == -2000000000);
  CHECK(require_ok(from.i64("u64")) == int64_t{1} << 62);
  CHECK(require_ok(from.i64("i64")) == int64_t{-1} * (int64_t{1} << 62));
  CHECK(require_ok(from.f32("f32")) == 1.25f);
  CHECK(require_ok(from.f32("f64")) == -2.5f);
  CHECK(require_ok(from.boolean("boolean")));
  CHECK(from.value("array")->element_type == ValueType::array);
  CHECK(from.value("array")->bytes.size() == nested.size());
}

TEST_CASE("tensors come back with their bytes, aligned as asked") {
  for (const uint32_t alignment : {8u, 32u, 4096u}) {
    CAPTURE(alignment);
    Writer writer;
    writer.set_u32("general.alignment", alignment);
    REQUIRE(writer.add_tensor("first", DType::f32, std::array<int64_t, 2>{3, 5}).ok());
    REQUIRE(writer.add_tensor("second", DType::i8, std::array<int64_t, 1>{1}).ok());
    REQUIRE(writer.add_tensor("third", DType::q8_0, std::array<int64_t, 4>{64, 1, 2, 1}).ok());
    const auto bytes = require_ok(writer.to_bytes(counting({60, 1, 4 * 34})));
    CHECK(bytes.size() % alignment == 0);
    const File file = require_ok(File::parse(bytes));
    CHECK(file.alignment() == alignment);
    REQUIRE(file.tensors().size() == 3);
    CHECK(file.tensors()[1].name == "second");
    const TensorInfo* third = file.tensor("third");
    REQUIRE(third != nullptr);
    CHECK(third->n_dims == 4);
    CHECK(third->dims == std::array<int64_t, 4>{64, 1, 2, 1});
    CHECK((third->bytes.data() - bytes.data()) % alignment == 0);
    REQUIRE(third->bytes.size() == 4 * 34);
    for (size_t i = 0; i < third->bytes.size(); ++i) REQUIRE(third->bytes[i] == std::byte(2 + i));
  }
}

TEST_CASE("shapes and names that no file may have are refused") {
  Writer writer;
  const auto refused = [&](std::string_view name, DType dtype, std::vector<int64_t> dims) {
    const Status status = writer.add_tensor(name, dtype, dims);
    REQUIRE_FALSE(status.ok());
    CHECK(status.error().code == ErrorCode::bad_request);
    return status.error().message;
  };
  refused("", DType::f32, {1});
  refused(std::string(64, 'x'), DType::f32, {1});
  refused("\xC3(", DType::f32, {1});
  refused("t", DType::f32, {});
  refused("t", DType::f32, {1, 1, 1, 1, 1});
  refused("t", DType::f32, {0});
  refused("t", DType::f32, {-4});
  refused("t", DType::q8_0, {33});
  refused("t", DType::f32, {int64_t{1} << 32, int64_t{1} << 32});
  REQUIRE(writer.add_tensor("t", DType::f32, std::array<int64_t, 1>{1}).ok());
  CHECK(refused("t", DType::f32, {1}) == "tensor t was already added");

  for (const char* key : {"", "\xFF"}) {
    Writer keys;
    keys.set_u32(key, 1);
    CHECK_FALSE(keys.to_bytes(no_tensors).ok());
  }
  for (const uint32_t alignment : {0u, 4u, 24u, 0x80000000u}) {
    Writer aligned;
    aligned.set_u32("general.alignment", alignment);
    CHECK_FALSE(aligned.to_bytes(no_tensors).ok());
  }
  Writer text_alignment;
  text_alignment.set_str("general.alignment", "32");
  CHECK_FALSE(text_alignment.to_bytes(no_tensors).ok());
}

TEST_CASE("a tensor must be given exactly its bytes") {
  Writer writer;
  REQUIRE(writer.add_tensor("t", DType::f32, std::array<int64_t, 1>{4}).ok());
  CHECK(writer.to_bytes(counting({16})).ok());
  CHECK_FALSE(writer.to_bytes(counting({15})).ok());
  CHECK_FALSE(writer.to_bytes(counting({17})).ok());
  // A fill that does not pass the sink's answer on is found out all the same.
  const auto careless = [](size_t, const Writer::Sink& sink) -> Status {
    const std::vector<std::byte> too_much(17);
    (void)sink(too_much);
    (void)sink(first_bytes(too_much, 16));
    return ok();
  };
  CHECK_FALSE(writer.to_bytes(careless).ok());
}

TEST_CASE("a file appears only when all of it was written") {
  const test::TempDir folder;
  const auto path = folder.path() / "model.gguf";
  Writer writer;
  writer.set_str("general.architecture", "llama");
  REQUIRE(writer.add_tensor("a", DType::f32, std::array<int64_t, 1>{4}).ok());
  REQUIRE(writer.add_tensor("b", DType::f32, std::array<int64_t, 1>{4}).ok());
  const auto failing = [](size_t index, const Writer::Sink& sink) -> Status {
    if (index == 1) return Error{ErrorCode::cancelled, "stopped half-way"};
    return sink(std::vector<std::byte>(16));
  };
  const Status status = writer.write(path, failing);
  REQUIRE_FALSE(status.ok());
  CHECK(status.error().code == ErrorCode::cancelled);
  CHECK(std::filesystem::is_empty(folder.path()));

  REQUIRE(writer.write(path, counting({16, 16})).ok());
  const File file = require_ok(File::open(path));
  CHECK(file.tensor("b")->bytes[3] == std::byte{4});
  CHECK(file.file_bytes() == std::filesystem::file_size(path));
}

TEST_CASE("a type of our own is read only beside the key that the writer sets for it") {
  Writer writer;
  require_ok(writer.add_tensor("t", DType::i4g64, std::array<int64_t, 2>{64, 2}));
  const auto bytes = require_ok(writer.to_bytes(counting({70})));
  const File file = require_ok(File::parse(bytes));
  CHECK(file.tensor("t")->dtype == DType::i4g64);
  CHECK(require_ok(file.u32(kI4gVersionKey)) == 1);
  constexpr uint32_t kI4g32 = 0x4901;
  CHECK_REFUSED(test::RawGguf().tensor("t", {32}, kI4g32, 0).data(19),
                "expected llm.i4g.version 1 beside type i4g32, found none");
  CHECK_REFUSED(test::RawGguf().u32("llm.i4g.version", 2).tensor("t", {32}, kI4g32, 0).data(19),
                "found another");
}

}  // namespace
}  // namespace lm::gguf
