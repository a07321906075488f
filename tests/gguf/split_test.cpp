// Models cut into "-0000I-of-0000N" parts.
#include <array>
#include <cstdio>
#include <string>

#include "gguf/file.h"
#include "gguf/writer.h"
#include "tests/gguf/build.h"
#include "tests/support/support.h"

namespace lm::gguf {
namespace {

using test::require_ok;

struct PartOptions {
  int count = 3;                 // in the name
  int written_count = 3;         // split.count; 0 leaves all split keys out
  int number_shift = 0;          // added to split.no
  int tensors = 3;               // split.tensors.count
  const char* tensor = nullptr;  // the tensor's name; its part's number otherwise
};

std::filesystem::path part_path(const std::filesystem::path& folder, int part, int count) {
  char name[64];
  std::snprintf(name, sizeof name, "model-%05d-of-%05d.gguf", part, count);
  return folder / name;
}

// One part with one tensor t<part>, whose four bytes are the part's number.
void write_part(const std::filesystem::path& folder, int part, const PartOptions& options = {}) {
  Writer writer;
  if (part == 1) writer.set_str("general.architecture", "llama");
  if (options.written_count != 0) {
    writer.set_u32("split.no", uint32_t(part - 1 + options.number_shift));
    writer.set_u32("split.count", uint32_t(options.written_count));
    writer.set_i32("split.tensors.count", options.tensors);
  }
  const std::string name = options.tensor != nullptr ? options.tensor : "t" + std::to_string(part);
  REQUIRE(writer.add_tensor(name, DType::i8, std::array<int64_t, 1>{4}).ok());
  const auto fill = [&](size_t, const Writer::Sink& sink) {
    return sink(std::vector<std::byte>(4, std::byte(part)));
  };
  REQUIRE(writer.write(part_path(folder, part, options.count), fill).ok());
}

std::string refusal(const std::filesystem::path& path) {
  return test::error_of(File::open(path));
}

TEST_CASE("a split model is opened as one, whichever part is named") {
  const test::TempDir folder;
  for (int part = 1; part <= 3; ++part) write_part(folder.path(), part);
  for (int named = 1; named <= 3; ++named) {
    const File file = require_ok(File::open(part_path(folder.path(), named, 3)));
    CHECK(require_ok(file.str("general.architecture")) == "llama");
    REQUIRE(file.tensors().size() == 3);
    uint64_t bytes = 0;
    for (int part = 1; part <= 3; ++part) {
      const TensorInfo* tensor = file.tensor("t" + std::to_string(part));
      REQUIRE(tensor != nullptr);
      CHECK(tensor->bytes[0] == std::byte(part));
      bytes += std::filesystem::file_size(part_path(folder.path(), part, 3));
    }
    CHECK(file.file_bytes() == bytes);
  }
}

TEST_CASE("a missing part is named") {
  const test::TempDir folder;
  write_part(folder.path(), 1);
  write_part(folder.path(), 3);
  const std::string refused = refusal(part_path(folder.path(), 1, 3));
  CHECK_SAYS(refused, "part 2 of 3: cannot open");
  CHECK_SAYS(refused, "model-00002-of-00003.gguf");
}

TEST_CASE("parts that do not belong together are refused") {
  const test::TempDir folder;
  const auto first = part_path(folder.path(), 1, 3);
  for (int part = 1; part <= 3; ++part) write_part(folder.path(), part);
  REQUIRE(File::open(first).ok());

  SUBCASE("another number") {
    write_part(folder.path(), 2, {.number_shift = 1});
    CHECK_SAYS(refusal(first),
               "model-00002-of-00003.gguf: metadata key split.no: expected 1, found 2");
  }
  SUBCASE("another count") {
    write_part(folder.path(), 3, {.written_count = 4});
    CHECK_SAYS(refusal(first),
               "model-00003-of-00003.gguf: metadata key split.count: expected 3, found 4");
  }
  SUBCASE("no split keys") {
    write_part(folder.path(), 2, {.written_count = 0});
    CHECK_SAYS(refusal(first), "metadata key split.count: expected 3, found none");
  }
  SUBCASE("tensors missing") {
    write_part(folder.path(), 1, {.tensors = 4});
    CHECK_SAYS(refusal(first), "expected 4 tensors in all parts (split.tensors.count), found 3");
  }
  SUBCASE("the same tensor in two parts") {
    write_part(folder.path(), 2, {.tensor = "t1"});
    CHECK_SAYS(refusal(first), "model-00001-of-00003.gguf: tensor t1 occurs twice");
  }
  SUBCASE("a damaged part") {
    std::filesystem::resize_file(part_path(folder.path(), 2, 3), 20);
    CHECK_SAYS(refusal(first), "part 2 of 3");
  }
}

TEST_CASE("a part under another name says what is wrong") {
  const test::TempDir folder;
  write_part(folder.path(), 2);
  const auto renamed = folder.path() / "model.gguf";
  std::filesystem::rename(part_path(folder.path(), 2, 3), renamed);
  CHECK_SAYS(refusal(renamed), "this is one of 3 parts of a model, but its name does not end with");
}

TEST_CASE("one part of one is an ordinary file") {
  const test::TempDir folder;
  write_part(folder.path(), 1, {.count = 1, .written_count = 0});
  CHECK(File::open(part_path(folder.path(), 1, 1)).ok());
  write_part(folder.path(), 1, {.count = 1, .written_count = 1, .tensors = 1});
  CHECK(File::open(part_path(folder.path(), 1, 1)).ok());
}

TEST_CASE("files that cannot be opened are named") {
  const test::TempDir folder;
  CHECK_SAYS(refusal(folder.path() / "absent.gguf"), "absent.gguf: No such file");
  CHECK_SAYS(refusal(folder.path()), "Is a directory");
  CHECK_SAYS(refusal("/dev/null"), "expected a regular file");
}

}  // namespace
}  // namespace lm::gguf
