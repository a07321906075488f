// The matrix-vector kernels of K-quants.
#include "backends/cuda/formats_k.cuh"
#include "backends/cuda/matvec.cuh"

namespace lm::cuda {

MatvecLauncher k_matvec(DType type, bool wide) {
  switch (type) {
    case DType::q4_K:
      return matvec_launcher<FormatQ4_K>(wide);
    case DType::q5_K:
      return matvec_launcher<FormatQ5_K>(wide);
    case DType::q6_K:
      return matvec_launcher<FormatQ6_K>(wide);
    case DType::q2_K:
      return matvec_launcher<FormatQ2_K>(wide);
    case DType::q3_K:
      return matvec_launcher<FormatQ3_K>(wide);
    default:
      return nullptr;
  }
}

}  // namespace lm::cuda
