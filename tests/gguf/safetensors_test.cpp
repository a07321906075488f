// safetensors: files that other programs wrote, and files made to break the parser.
#include "gguf/safetensors.h"

#include <string>

#include "tests/gguf/build.h"
#include "tests/support/support.h"

namespace lm::safetensors {
namespace {

using test::Bytes;
using test::require_ok;

// A file with that header (its length may be given wrongly) and n bytes of data 0, 1, 2, ...
Bytes make(std::string_view header, size_t n_data, int64_t length_error = 0) {
  Bytes out;
  test::put(out, uint64_t(header.size()) + uint64_t(length_error));
  for (const char c : header) out.push_back(std::byte(c));
  for (size_t i = 0; i < n_data; ++i) out.push_back(std::byte(i));
  return out;
}

std::string refusal(const Bytes& bytes) {
  return test::error_of(File::parse(bytes));
}

std::string open_refusal(const std::filesystem::path& path) {
  return test::error_of(File::open(path));
}

const std::string kGood = R"({"__metadata__":{"format":"pt"},)"
                          R"("b":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},)"
                          R"("a":{"dtype":"BF16","shape":[3],"data_offsets":[16,22]}})";

TEST_CASE("tensors and metadata are read") {
  const Bytes bytes = make(kGood, 22);
  const File file = require_ok(File::parse(bytes));
  REQUIRE(file.tensors().size() == 2);
  CHECK(file.tensors()[0].name == "a");  // sorted
  CHECK(file.tensors()[0].type == ElementType::bf16);
  CHECK(file.tensors()[0].bytes[0] == std::byte{16});
  const TensorInfo* b = file.tensor("b");
  REQUIRE(b != nullptr);
  CHECK(b->shape == std::vector<int64_t>{2, 2});
  CHECK(b->bytes.size() == 16);
  CHECK(file.metadata("format") == "pt");
  CHECK(file.metadata("absent").empty());
  CHECK(file.tensor("c") == nullptr);
}

TEST_CASE("spaces behind the header, scalars, empty tensors and empty files are allowed") {
  CHECK(File::parse(make(kGood + "   ", 22)).ok());
  CHECK(File::parse(make("{}", 0)).ok());
  const Bytes bytes = make(R"({"s":{"dtype":"F64","shape":[],"data_offsets":[0,8]},)"
                           R"("e":{"dtype":"F32","shape":[4,0],"data_offsets":[8,8]},)"
                           R"("z":{"dtype":"I8","shape":[0],"data_offsets":[0,0]}})",
                           8);
  const File file = require_ok(File::parse(bytes));
  CHECK(file.tensor("s")->shape.empty());
  CHECK(file.tensor("s")->bytes.size() == 8);
  CHECK(file.tensor("e")->bytes.empty());
}

TEST_CASE("every element type has a name and a size") {
  for (int i = 0; i <= int(ElementType::boolean); ++i) {
    const auto type = ElementType(i);
    CHECK(element_type_from_name(element_type_name(type)) == type);
    CHECK(element_bytes(type) >= 1);
  }
  CHECK(element_type_name(ElementType::f8_e5m2) == "F8_E5M2");
  CHECK(element_bytes(ElementType::u16) == 2);
  CHECK_FALSE(element_type_from_name("f32").has_value());
}

TEST_CASE("headers that are not there are refused") {
  CHECK_SAYS(refusal({}), "expected a safetensors file, found 0 bytes");
  CHECK_SAYS(refusal(Bytes(8)), "no header that starts with '{'");
  CHECK_SAYS(refusal(make(kGood, 22, 1000)), "found a length of");
  CHECK_SAYS(refusal(make(kGood, 0, 1)), "found a length of");
  CHECK_SAYS(refusal(make(kGood, 22, -1)), "expected JSON");
  Bytes long_length = make(kGood, 22);
  for (int i = 0; i < 8; ++i) long_length[size_t(i)] = std::byte{0xFF};
  CHECK_SAYS(refusal(long_length), "found a length of 18446744073709551615");
  CHECK_SAYS(refusal(make(" {}", 0)), "no header that starts with '{'");
  CHECK_SAYS(refusal(make("[]", 0)), "no header that starts with '{'");
  CHECK_SAYS(refusal(make("{} {}", 0)), "expected JSON, found a mistake at byte 4");
  CHECK_SAYS(refusal(make("{\"\xFF\":1}", 0)), "expected JSON, found a mistake at byte");
}

TEST_CASE("a file cut at any byte is refused") {
  const Bytes whole = make(kGood, 22);
  for (size_t n = 0; n < whole.size(); ++n) {
    CAPTURE(n);
    const Bytes part(whole.begin(), whole.begin() + std::ptrdiff_t(n));
    CHECK_FALSE(File::parse(part).ok());
  }
}

// One tensor "t" with these fields, and 16 bytes of data.
std::string one(const std::string& fields) {
  return refusal(make("{\"t\":{" + fields + "}}", 16));
}

TEST_CASE("fields that disagree or are missing are refused") {
  CHECK(one(R"("dtype":"F32","shape":[4],"data_offsets":[0,16])") == "(accepted)");
  CHECK_SAYS(one(R"("shape":[4],"data_offsets":[0,16])"),
             "tensor t: expected dtype, shape and two");
  CHECK_SAYS(one(R"("dtype":"F32","data_offsets":[0,16])"), "found fewer");
  CHECK_SAYS(one(R"("dtype":"F32","shape":[4])"), "found fewer");
  CHECK_SAYS(one(R"("dtype":"F32","shape":[4],"data_offsets":[0])"), "found fewer");
  CHECK_SAYS(one(R"("dtype":"F32","shape":[4],"data_offsets":[0,16,16])"), "found more");
  CHECK_SAYS(one(R"("dtype":"F32","dtype":"I32","shape":[4],"data_offsets":[0,16])"),
             "dtype occurs twice");
  CHECK_SAYS(one(R"("dtype":"F32","shape":[4],"data_offsets":[0,16],"x":1)"), "found x");
  CHECK_SAYS(one(R"("dtype":"Q4","shape":[4],"data_offsets":[0,16])"),
             "expected a known dtype, found Q4");
  CHECK_SAYS(one(R"("dtype":7,"shape":[4],"data_offsets":[0,16])"), "found a number");
  CHECK_SAYS(one(R"("dtype":null,"shape":[4],"data_offsets":[0,16])"), "found null");
  CHECK_SAYS(one(R"("dtype":true,"shape":[4],"data_offsets":[0,16])"), "found a boolean");
  CHECK_SAYS(one(R"("dtype":["F32"],"shape":[4],"data_offsets":[0,16])"), "found an array");
  CHECK_SAYS(one(R"("dtype":"F32","shape":4,"data_offsets":[0,16])"), "found a number");
  CHECK_SAYS(one(R"("dtype":"F32","shape":"4","data_offsets":[0,16])"), "found a string");
  CHECK_SAYS(one(R"("dtype":"F32","shape":[[4]],"data_offsets":[0,16])"), "found an array");
  CHECK_SAYS(one(R"("dtype":"F32","shape":{},"data_offsets":[0,16])"), "found an object");
  CHECK_SAYS(one(R"("dtype":"F32","shape":[-4],"data_offsets":[0,16])"), "found a negative number");
  CHECK_SAYS(one(R"("dtype":"F32","shape":[4.0],"data_offsets":[0,16])"), "not a 64-bit integer");
  CHECK_SAYS(one(R"("dtype":"F32","shape":[1e999],"data_offsets":[0,16])"), "expected JSON");
  CHECK_SAYS(one(R"("dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,16])"),
             "not a 64-bit integer");
  CHECK_SAYS(one(R"("dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,16])"),
             "below 2^63");
  CHECK_SAYS(one(R"("dtype":"F32","shape":[1,1,1,1,1,1,1,1,4],"data_offsets":[0,16])"),
             "at most 8 dimensions");
}

TEST_CASE("offsets that do not fit the shape or the data are refused") {
  CHECK_SAYS(one(R"("dtype":"F32","shape":[4],"data_offsets":[0,12])"),
             "expected 16 bytes for its shape");
  CHECK_SAYS(one(R"("dtype":"F32","shape":[4],"data_offsets":[16,0])"), "found 16 to 0");
  CHECK_SAYS(one(R"("dtype":"F32","shape":[8],"data_offsets":[0,32])"), "inside 16 bytes of data");
  CHECK_SAYS(
      one(R"("dtype":"F32","shape":[4],"data_offsets":[9223372036854775807,9223372036854775807])"),
      "inside 16 bytes of data");
  CHECK_SAYS(one(R"("dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0])"),
             "expected fewer than 2^64 bytes");
  CHECK_SAYS(one(R"("dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0])"),
             "expected fewer than 2^64 bytes");
}

TEST_CASE("tensors cover the data exactly") {
  const auto two = [](const char* first, const char* second) {
    return refusal(make(std::string(R"({"a":{"dtype":"I8","shape":[4],"data_offsets":)") + first +
                            R"(},"b":{"dtype":"I8","shape":[4],"data_offsets":)" + second + "}}",
                        8));
  };
  CHECK(two("[0,4]", "[4,8]") == "(accepted)");
  CHECK(two("[4,8]", "[0,4]") == "(accepted)");
  CHECK_SAYS(two("[0,4]", "[0,4]"), "tensor b: expected its data to start at 4");
  CHECK_SAYS(two("[0,4]", "[3,7]"), "where the tensor before it ends, found 3");
  CHECK_SAYS(refusal(make(kGood, 23)), "expected tensors to cover 23 bytes of data, found 22");
  CHECK_SAYS(refusal(make(R"({"a":{"dtype":"I8","shape":[1],"data_offsets":[1,2]}})", 2)),
             "tensor a: expected its data to start at 0");
}

TEST_CASE("headers of another structure are refused") {
  CHECK_SAYS(refusal(make(R"({"t":5})", 0)), "safetensors header: found a number");
  CHECK_SAYS(refusal(make(R"({"t":[]})", 0)), "found an array");
  CHECK_SAYS(refusal(make(R"({"t":"F32"})", 0)), "found a string");
  CHECK_SAYS(refusal(make(R"({"__metadata__":5})", 0)), "found a number");
  CHECK_SAYS(refusal(make(R"({"__metadata__":{"a":{}}})", 0)), "__metadata__: found an object");
  CHECK_SAYS(refusal(make(R"({"__metadata__":{"a":1}})", 0)), "__metadata__: found a number");
  CHECK_SAYS(refusal(make(R"({"__metadata__":{"a":"1","a":"2"}})", 0)), "a occurs twice");
  const std::string t = R"("t":{"dtype":"I8","shape":[0],"data_offsets":[0,0]})";
  CHECK_SAYS(refusal(make("{" + t + "," + t + "}", 0)), "tensor t occurs twice");
  CHECK_SAYS(refusal(make(R"({"":{"dtype":"I8","shape":[0],"data_offsets":[0,0]}})", 0)),
             "empty one");
  // Nesting costs nothing: it is refused where it begins.
  CHECK_SAYS(refusal(make("{\"t\":" + std::string(1000000, '['), 0)), "found an array");
  CHECK_SAYS(refusal(make("{\"t\":{\"x\":" + std::string(1000000, '{'), 0)), "found x");
}

TEST_CASE("refusing the largest tables costs little memory") {
  const test::TempDir folder;
  const auto path = folder.path() / "hostile.safetensors";
  std::string header = "{";
  for (int i = 0; i < 300000; ++i) {
    header += R"("t":{"dtype":"I8","shape":[0],"data_offsets":[0,0]},)";
  }
  header.back() = '}';
  test::write_bytes(path, make(header, 0));
  const std::optional<uint64_t> cost =
      test::peak_cost([&] { CHECK_SAYS(open_refusal(path), "expected at most 262144 tensors"); });
  if (!cost) LM_SKIP("the peak of memory cannot be measured here");
  INFO("peak: ", double(*cost) / 1e6, " MB");
  CHECK(*cost < (uint64_t{64} << 20));
}

// A folder with an index and two shards: "a" in one.safetensors, "b" in two.safetensors.
struct Sharded {
  test::TempDir folder;
  std::filesystem::path index = folder.path() / "model.safetensors.index.json";

  Sharded() {
    shard("one.safetensors", "a");
    shard("two.safetensors", "b");
    write_index(R"({"metadata":{"total_size":8,"x":[1,[2.5,null,true,-1,{}]]},)"
                R"("weight_map":{"a":"one.safetensors","b":"two.safetensors"}})");
  }
  void shard(const char* file, const std::string& tensor) const {
    test::write_bytes(folder.path() / file,
                      make(R"({"__metadata__":{"format":"pt"},")" + tensor +
                               R"(":{"dtype":"I8","shape":[4],"data_offsets":[0,4]}})",
                           4));
  }
  void write_index(std::string_view text) const {
    test::write_bytes(index, std::as_bytes(std::span(text)));
  }
};

TEST_CASE("a sharded model is opened by its folder or its index") {
  const Sharded model;
  for (const auto& path : {model.folder.path(), model.index}) {
    const File file = require_ok(File::open(path));
    REQUIRE(file.tensors().size() == 2);
    CHECK(file.tensor("a")->bytes.size() == 4);
    CHECK(file.tensor("b")->bytes.size() == 4);
    CHECK(file.metadata("format") == "pt");
  }
  CHECK(require_ok(File::open(model.folder.path() / "one.safetensors")).tensors().size() == 1);
}

TEST_CASE("an index that does not fit its shards is refused") {
  const Sharded model;
  const auto with = [&](std::string_view text) {
    model.write_index(text);
    return open_refusal(model.folder.path());
  };
  CHECK_SAYS(with(R"({"weight_map":{"a":"one.safetensors","b":"three.safetensors"}})"),
             "three.safetensors: No such file");
  CHECK_SAYS(with(R"({"weight_map":{"a":"one.safetensors","c":"two.safetensors"}})"),
             "expected tensor c in two.safetensors");
  CHECK_SAYS(with(R"({"weight_map":{"a":"two.safetensors"}})"),
             "expected tensor a in two.safetensors");
  model.shard("two.safetensors", "a");
  CHECK_SAYS(with(R"({"weight_map":{"a":"one.safetensors","a":"two.safetensors"}})"),
             "tensor a occurs twice");
}

TEST_CASE("an index cannot lead out of its folder") {
  const Sharded model;
  for (const char* name :
       {"../one.safetensors", "/tmp/one.safetensors", "x/one.safetensors", "..\\\\one.safetensors",
        "", "..", "one\\u0000.safetensors", "/dev/zero", "config.json"}) {
    CAPTURE(std::string(name));
    model.write_index(std::string(R"({"weight_map":{"a":")") + name + "\"}}");
    CHECK_SAYS(open_refusal(model.index),
               "expected the name of a .safetensors file in the same folder");
  }
}

TEST_CASE("an index of another structure is refused") {
  const Sharded model;
  const auto with = [&](std::string_view text) {
    model.write_index(text);
    return open_refusal(model.index);
  };
  CHECK_SAYS(with("{}"), "expected a weight_map, found none");
  CHECK_SAYS(with(""), "expected JSON");
  CHECK_SAYS(with("[]"), "safetensors index: found an array");
  CHECK_SAYS(with("5"), "found a number");
  CHECK_SAYS(with("\"x\""), "found a string");
  CHECK_SAYS(with("null"), "found null");
  CHECK_SAYS(with(R"({"weight_map":[]})"), "found an array");
  CHECK_SAYS(with(R"({"weight_map":null})"), "found null");
  CHECK_SAYS(with(R"({"weight_map":{"a":{}}})"), "found an object");
  CHECK_SAYS(with(R"({"weight_map":{"a":1}})"), "found a number");
  CHECK_SAYS(with(R"({"weight_map":{},"weight_map":{}})"), "weight_map occurs twice");
  CHECK_SAYS(with("{\"x\":" + std::string(100000, '[')), "nested at most 16 deep");
  CHECK_SAYS(with(R"({"x":{"weight_map":{}}})"), "expected a weight_map, found none");
}

TEST_CASE("folders without a model say so") {
  const test::TempDir folder;
  CHECK_SAYS(open_refusal(folder.path()),
             "expected model.safetensors or model.safetensors.index.json");
  CHECK_SAYS(open_refusal(folder.path() / "absent.safetensors"), "No such file");
}

TEST_CASE("models of other writers are read") {
  LM_FIXTURE(single_path, "logits/tiny_llama.safetensors");
  LM_FIXTURE(index_path, "logits/tiny_llama.safetensors.index.json");
  const File single = require_ok(File::open(single_path));
  const File sharded = require_ok(File::open(index_path));
  REQUIRE(single.tensors().size() == sharded.tensors().size());
  CHECK(single.tensor("model.embed_tokens.weight")->shape == std::vector<int64_t>{11, 8});
  for (const TensorInfo& tensor : single.tensors()) {
    CAPTURE(tensor.name);
    const TensorInfo* other = sharded.tensor(tensor.name);
    REQUIRE(other != nullptr);
    CHECK(other->shape == tensor.shape);
    CHECK(std::equal(tensor.bytes.begin(), tensor.bytes.end(), other->bytes.begin(),
                     other->bytes.end()));
  }
}

TEST_CASE("TinyStories-656K is read from its folder") {
  LM_FIXTURE(folder, "models/TinyStories-656K");
  const File file = require_ok(File::open(folder));
  const TensorInfo* head = file.tensor("lm_head.weight");
  REQUIRE(head != nullptr);
  CHECK(head->shape == std::vector<int64_t>{2048, 128});
  CHECK(file.tensor("model.embed_tokens.weight") == nullptr);
  CHECK(file.metadata("model.embed_tokens.weight") == "lm_head.weight");
}

}  // namespace
}  // namespace lm::safetensors
