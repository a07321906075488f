// What a step needs of the host never waits for the step in front, however much it is. Only the
// emulation tells which copies might have waited.
#include <vector>

#include "tests/cuda/both.h"
#include "tests/runtime/support.h"
#include "tests/simt/simt.h"

namespace lm::test {
namespace {

TEST_CASE("CUDA uploads: a step's inputs go through page-locked memory, of a long context too") {
  for (const std::string_view name : {"llama", "gemma3"}) {
    const ModelFile file(tiny_model(name));
    for (const int n_ctx : {400, 1 << 17}) {
      CAPTURE(std::string(name));
      CAPTURE(n_ctx);
      InstanceOptions options = options_for(file.path());
      options.device = "cuda";
      options.kv_dtype = DType::f16;
      options.n_ctx = n_ctx;
      options.max_seqs = 8;
      const auto instance = require_ok(Instance::open(both(), options));
      const size_t before = simt::pageable_copies();
      std::vector<BlockTable> tables;
      for (int i = 0; i < 8; ++i) tables.emplace_back(instance->pool());
      const TokenId token = 5;
      std::vector<LogitRow> logits;
      for (int position = 0; position < 3; ++position) {
        std::vector<StepRow> rows;
        for (BlockTable& table : tables) {
          REQUIRE(table.prepare(position, position + 1));
          rows.push_back({.tokens = {&token, 1}, .first_position = position, .table = &table});
        }
        require_ok(instance->compute(rows, logits));
      }
      CHECK(simt::pageable_copies() == before);
    }
  }
}

TEST_CASE("CUDA uploads: where no more memory can be page-locked, they go the slow way") {
  const auto cuda = require_ok(both().open("cuda", {}));
  constexpr size_t kBytes = size_t{1} << 20;
  simt::fail_allocation(1);
  require_ok(cuda->expect_uploads(kBytes));
  const auto buffer = require_ok(cuda->alloc(kBytes));
  Tensor tensor;
  tensor.buffer = buffer.get();
  tensor.shape = {1, 1, 1, kBytes / sizeof(float)};
  std::vector<std::byte> bytes(kBytes), back(kBytes);
  for (size_t i = 0; i < kBytes; ++i) bytes[i] = std::byte(i * 7 >> 3);
  const size_t before = simt::pageable_copies();
  cuda->upload(tensor, bytes);
  CHECK(simt::pageable_copies() == before + 1);
  cuda->download(back, tensor);
  require_ok(cuda->synchronize());
  CHECK(back == bytes);
}

}  // namespace
}  // namespace lm::test
