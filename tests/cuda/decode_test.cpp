// The formats on the device: any bytes become the bits that decode() makes of them. Rows are read
// through embed, the one operation that hands them out as they are.
#include "quant/decode.h"

#include <bit>
#include <cmath>
#include <span>
#include <vector>

#include "tests/cpu/harness.h"
#include "tests/cuda/rig.h"

using namespace lm;
using namespace lm::test;

TEST_CASE("decode: any bytes of any type, bit for bit") {
  LM_CUDA(backend);
  Random random(41);
  for (int t = 0; t < kDTypeCount; ++t) {
    const DType type = DType(t);
    INFO(std::string(dtype_name(type)));
    const int64_t n_rows = 24, k = 3 * std::max(dtype_info(type).block_elems, 32);
    std::vector<std::byte> bytes(size_t(n_rows) * row_bytes(type, k));
    for (std::byte& byte : bytes) byte = std::byte(random.next());
    const LoadedWeight table =
        require_ok(backend->load_weight({type, {1, 1, n_rows, k}, bytes}, WeightUse::rows));
    std::vector<int32_t> rows(size_t(n_rows), 0);
    for (size_t i = 0; i < rows.size(); ++i) rows[i] = int32_t(i);
    const Guarded ids(*backend, {1, 1, 1, n_rows}, rows), out(*backend, {1, 1, n_rows, k});
    backend->embed(table.tensor, ids, 1, out);
    require_ok(backend->synchronize());
    std::vector<float> expected(size_t(n_rows * k));
    decode(type, bytes.data(), expected.data(), n_rows * k);
    const std::vector<float> found = out.floats();
    int n_wrong = 0;
    for (size_t i = 0; i < found.size(); ++i) {
      const bool same = std::bit_cast<uint32_t>(found[i]) == std::bit_cast<uint32_t>(expected[i]);
      n_wrong += same || (std::isnan(found[i]) && std::isnan(expected[i])) ? 0 : 1;
    }
    CHECK(n_wrong == 0);
    CHECK(out.guards_intact());
  }
}
