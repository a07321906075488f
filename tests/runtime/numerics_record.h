// tests/runtime/numerics_record.h — sums of the bits that numerics_test.cpp's models have in their
// KV cache, by instruction-set table, and the version of the arithmetic that they belong to.
#pragma once
#include <cstdint>
#include <string_view>

namespace lm::test {

struct NumericsRecord {
  std::string_view isa, version;
  std::string_view sums;  // of the cases in order
};

// Of what the C library's mathematics decides, and of the models themselves.
inline constexpr uint64_t kNumericsMathematics = 0xe1e3310ae627cb90;
inline constexpr uint64_t kNumericsModels = 0x37f6e6b2a1194847;

inline constexpr NumericsRecord kNumericsRecords[] = {
    {"scalar", "model arithmetic 1; cpu scalar 1",
     "1a1cceceeef48ce1 c046ecc4f45f52b7 a6a9afe9e5a9dd91 ad5254fc27a08e15 d6ea318d637f1f48 "
     "b5bbff7096fda1bd fff5cc7fd26d132e a1235fda01136ac8 ea7e3f051f731d23 4e8598325d3fbfb7 "
     "4c9a62488164af9f 0b71a340b71a059f cd8ea2efe2f780c7 b85d7763e1d843c3"},
    {"avx2", "model arithmetic 1; cpu avx2 1",
     "f8dba94e2016219b 8a284bdfb0e0191c 0657cd63f46847a2 d916f648d2e461b2 2d1efa0b52a56ff5 "
     "459549dca3ee1445 5114ae5993ab086d a8056204eddb8712 cfba0d991ef85e82 04919351540f79fa "
     "775c7d183e28a851 c21110930b297880 3a90e03c813787ea 9ec16f7b613e822e"},
    {"avxvnni", "model arithmetic 1; cpu avxvnni 1",
     "f8dba94e2016219b 8a284bdfb0e0191c 0657cd63f46847a2 d916f648d2e461b2 2d1efa0b52a56ff5 "
     "459549dca3ee1445 5114ae5993ab086d a8056204eddb8712 cfba0d991ef85e82 04919351540f79fa "
     "775c7d183e28a851 c21110930b297880 3a90e03c813787ea 9ec16f7b613e822e"},
    {"avx512", "model arithmetic 1; cpu avx512 1",
     "612552afa0615549 11dd40eb2d465e8f e66585985e2cb626 110c15bf3cbbae81 e3db75489dde2d28 "
     "9200ae928db90dc3 800d6d8899b1e0ed 74f055e1de96503e ee4c5457313791d9 b97ad0aef3df14fe "
     "0bdd6d13e3a05b9b fa73dfc5e2a45760 cb42be9abff74ddf b3fbeec61a0b63fb"},
    {"avx512vbmi", "model arithmetic 1; cpu avx512vbmi 1",
     "612552afa0615549 11dd40eb2d465e8f e66585985e2cb626 110c15bf3cbbae81 e3db75489dde2d28 "
     "9200ae928db90dc3 800d6d8899b1e0ed 74f055e1de96503e ee4c5457313791d9 b97ad0aef3df14fe "
     "0bdd6d13e3a05b9b fa73dfc5e2a45760 cb42be9abff74ddf b3fbeec61a0b63fb"},
};

}  // namespace lm::test
