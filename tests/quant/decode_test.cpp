// tests/quant/decode_test.cpp — decode() against slices of real tensors with a reference we did not
// write, and its contract on any bytes.
#include "quant/decode.h"

#include <cmath>
#include <cstring>
#include <filesystem>
#include <vector>

#include "engine/core/file.h"
#include "quant/half.h"
#include "tests/support/support.h"

namespace lm {
namespace {

// A fixture: u32 type id, element count, raw bytes, golden bytes; raw blocks; golden bf16.
struct Slice {
  DType type;
  std::vector<std::byte> raw;
  std::vector<uint16_t> golden;
};

Slice read_slice(const std::filesystem::path& path) {
  const std::string bytes = test::require_ok(read_file(path, 1 << 24));
  uint32_t header[4];
  REQUIRE(bytes.size() >= sizeof header);
  std::memcpy(header, bytes.data(), sizeof header);
  REQUIRE(bytes.size() == sizeof header + size_t(header[2]) + header[3]);
  REQUIRE(header[3] == 2 * header[1]);
  const std::optional<DType> type = dtype_from_gguf_id(header[0]);
  REQUIRE(type.has_value());
  REQUIRE(row_bytes(*type, header[1]) == header[2]);
  Slice slice{*type, std::vector<std::byte>(header[2]), std::vector<uint16_t>(header[1])};
  std::memcpy(slice.raw.data(), bytes.data() + sizeof header, header[2]);
  std::memcpy(slice.golden.data(), bytes.data() + sizeof header + header[2], header[3]);
  return slice;
}

TEST_CASE("decode: every fixture slice is bit-exact after rounding to bf16") {
  LM_FIXTURE(folder, "quant/gguf");
  int n_files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    CAPTURE(entry.path().filename().string());
    const Slice slice = read_slice(entry.path());
    std::vector<float> decoded(slice.golden.size());
    decode(slice.type, slice.raw.data(), decoded.data(), int64_t(decoded.size()));
    int n_wrong = 0;
    for (size_t i = 0; i < decoded.size(); ++i) {
      n_wrong += f32_to_bf16(decoded[i]) != slice.golden[i] ? 1 : 0;
    }
    CHECK(n_wrong == 0);
    ++n_files;
  }
  CHECK(n_files == 22);
}

}  // namespace
}  // namespace lm
