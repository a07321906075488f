// Importance matrices as files: both of the field's forms, byte by byte, and damaged ones.
#include "engine/tools/imatrix.h"

#include <cmath>
#include <cstring>

#include "engine/core/file.h"
#include "gguf/file.h"
#include "tests/support/support.h"

namespace lm::test {
namespace {

template <class T>
void append(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

// The older form, as it is described in llama.cpp's imatrix.cpp.
std::string older_file() {
  std::string out;
  append(out, int32_t{2});
  for (const std::string name : {"blk.0.attn_q.weight", "blk.0.ffn_up_exps.weight"}) {
    append(out, int32_t(name.size()));
    out += name;
    append(out, int32_t{5});  // calls
    append(out, int32_t{4});
    for (const float v : {10.0f, 0.0f, 5.0f, 2.5f}) append(out, v);
  }
  append(out, int32_t{7});
  append(out, int32_t{8});
  return out + "wiki.txt";
}

TEST_CASE("imatrix: the older form is read") {
  const Imatrix imatrix = require_ok(parse_imatrix(older_file()));
  REQUIRE(imatrix.entries.size() == 2);
  const ImatrixEntry* entry = imatrix.find("blk.0.attn_q.weight");
  REQUIRE(entry != nullptr);
  CHECK(entry->mean_squares == std::vector<float>{2, 0, 1, 0.5f});
  CHECK(imatrix.n_chunks == 7);
  CHECK(imatrix.datasets == std::vector<std::string>{"wiki.txt"});
  CHECK(imatrix.find("blk.0.attn_k.weight") == nullptr);
}

TEST_CASE("imatrix: both forms come back as they were written") {
  const TempDir temp;
  Imatrix imatrix;
  imatrix.datasets = {"a.txt"};
  imatrix.n_chunks = 3;
  imatrix.chunk_tokens = 512;
  imatrix.entries["blk.0.attn_q.weight"] = {{0.5f, 2, 0.25f}, {8}};
  imatrix.entries["blk.0.ffn_up_exps.weight"] = {{1, 2, 3, 0, 0, 0}, {16, 0}};
  const auto gguf_path = temp.path() / "i.gguf";
  require_ok(write_imatrix(imatrix, gguf_path));
  const Imatrix again = require_ok(read_imatrix(gguf_path));
  CHECK(again.n_chunks == 3);
  CHECK(again.chunk_tokens == 512);
  CHECK(again.datasets == imatrix.datasets);
  REQUIRE(again.entries.size() == 2);
  for (const auto& [name, entry] : imatrix.entries) {
    CHECK(again.find(name)->mean_squares == entry.mean_squares);
    CHECK(again.find(name)->counts == entry.counts);
  }
  CHECK(again.find("blk.0.ffn_up_exps.weight")->slice(1).empty());
  CHECK(again.find("blk.0.ffn_up_exps.weight")->slice(0)[2] == 3);
  const gguf::File file = require_ok(gguf::File::open(gguf_path));
  CHECK(require_ok(file.str("general.type")) == "imatrix");
  const gguf::TensorInfo* counts = file.tensor("blk.0.ffn_up_exps.weight.counts");
  REQUIRE(counts != nullptr);
  CHECK(counts->dims[0] == 1);
  CHECK(counts->dims[1] == 2);

  require_ok(write_imatrix(imatrix, temp.path() / "i.dat"));
  const Imatrix older = require_ok(read_imatrix(temp.path() / "i.dat"));
  CHECK(older.find("blk.0.attn_q.weight")->mean_squares == std::vector<float>{0.5f, 2, 0.25f});
  // What is not known counts alike there.
  CHECK(older.find("blk.0.ffn_up_exps.weight")->mean_squares ==
        std::vector<float>{1, 2, 3, 1, 1, 1});
}

TEST_CASE("imatrix: a damaged file is refused, whatever the damage") {
  const std::string whole = older_file();
  const size_t last_entry_ends = whole.size() - 16;
  for (size_t n = 0; n < whole.size(); ++n) {
    const Result<Imatrix> cut = parse_imatrix(whole.substr(0, n));
    CHECK(cut.ok() == (n == last_entry_ends));  // the rest may be absent
  }
  Random random(5);
  for (int i = 0; i < 2000; ++i) {
    std::string damaged = whole;
    for (int k = 0; k < 3; ++k) damaged[random.below(damaged.size())] = char(random.next());
    const Result<Imatrix> result = parse_imatrix(damaged);
    if (!result.ok()) {
      CHECK(result.error().message.find('\n') == std::string::npos);
      continue;
    }
    for (const auto& [name, entry] : result.value().entries) {
      for (const float v : entry.mean_squares) CHECK((std::isfinite(v) && v >= 0));
    }
  }
  CHECK_FALSE(parse_imatrix("GGUF").ok());
}

}  // namespace
}  // namespace lm::test
