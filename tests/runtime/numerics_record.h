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
inline constexpr uint64_t kNumericsModels = 0xd86a679207ffb57d;

inline constexpr NumericsRecord kNumericsRecords[] = {
    {"scalar", "model arithmetic 1; cpu scalar 2",
     "1a1cceceeef48ce1 c046ecc4f45f52b7 a6a9afe9e5a9dd91 ad5254fc27a08e15 "
     "d6ea318d637f1f48 ec8d7e5a99d7d867 28b1dc6b894f2789 0ce2b3ae8db6be71 "
     "226b808b3e57bafb 45f74d42133b1519 4c9a62488164af9f 0b71a340b71a059f "
     "cd8ea2efe2f780c7 cebf1eb2e2768e85 4d606f02bc53fa65"},
    {"avx2", "model arithmetic 1; cpu avx2 2",
     "f8dba94e2016219b 8a284bdfb0e0191c 0657cd63f46847a2 d916f648d2e461b2 "
     "2d1efa0b52a56ff5 e8ccbf331fa69211 1de7ddc122904504 cf7d061a34677689 "
     "e949f90f012f4530 ffc5abefd0535d40 775c7d183e28a851 c21110930b297880 "
     "3a90e03c813787ea fffba6609dfae3c2 e71f07e4174cfdf8"},
    {"avxvnni", "model arithmetic 1; cpu avxvnni 2",
     "f8dba94e2016219b 8a284bdfb0e0191c 0657cd63f46847a2 d916f648d2e461b2 "
     "2d1efa0b52a56ff5 e8ccbf331fa69211 1de7ddc122904504 cf7d061a34677689 "
     "e949f90f012f4530 ffc5abefd0535d40 775c7d183e28a851 c21110930b297880 "
     "3a90e03c813787ea fffba6609dfae3c2 e71f07e4174cfdf8"},
    {"avx512", "model arithmetic 1; cpu avx512 2",
     "612552afa0615549 11dd40eb2d465e8f e66585985e2cb626 110c15bf3cbbae81 "
     "e3db75489dde2d28 e304ba804a8f0884 b9dd17f03ecdd413 7d15ce79a4daa76d "
     "fdcf0dab5ca1e221 d8049a3fb6a9114f 0bdd6d13e3a05b9b fa73dfc5e2a45760 "
     "cb42be9abff74ddf c5dacce163036d2c c56391e7bade1c2a"},
    {"avx512vbmi", "model arithmetic 1; cpu avx512vbmi 2",
     "612552afa0615549 11dd40eb2d465e8f e66585985e2cb626 110c15bf3cbbae81 "
     "e3db75489dde2d28 e304ba804a8f0884 b9dd17f03ecdd413 7d15ce79a4daa76d "
     "fdcf0dab5ca1e221 d8049a3fb6a9114f 0bdd6d13e3a05b9b fa73dfc5e2a45760 "
     "cb42be9abff74ddf c5dacce163036d2c c56391e7bade1c2a"},
};

}  // namespace lm::test
