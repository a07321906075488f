// The matrix-vector kernels of blocks of 32 with scales of their own.
#include "backends/cuda/formats.cuh"
#include "backends/cuda/matvec.cuh"

namespace lm::cuda {

MatvecLauncher basic_matvec(DType type, bool wide) {
  switch (type) {
    case DType::q4_0:
      return matvec_launcher<FormatQ4_0>(wide);
    case DType::q4_1:
      return matvec_launcher<FormatQ4_1>(wide);
    case DType::q5_0:
      return matvec_launcher<FormatQ5_0>(wide);
    case DType::q5_1:
      return matvec_launcher<FormatQ5_1>(wide);
    case DType::q8_0:
      return matvec_launcher<FormatQ8_0>(wide);
    default:
      return nullptr;
  }
}

}  // namespace lm::cuda
