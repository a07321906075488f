// test_cuda_races: what the tests of the CUDA backend launch is looked at for data races.
#include "tests/simt/simt.h"

namespace {

[[maybe_unused]] const bool is_on = [] {
  simt::set_race_detection(true);
  return true;
}();

}  // namespace
