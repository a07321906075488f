// The matrix-vector kernels of asymmetric groups and code books.
#include "backends/cuda/formats_codebook.cuh"
#include "backends/cuda/matvec.cuh"

namespace lm::cuda {

MatvecLauncher other_matvec(DType type, bool wide) {
  switch (type) {
    case DType::i4g32:
      return matvec_launcher<FormatI4g32>(wide);
    case DType::i4g64:
      return matvec_launcher<FormatI4g64>(wide);
    case DType::i4g128:
      return matvec_launcher<FormatI4g128>(wide);
    case DType::iq4_NL:
      return matvec_launcher<FormatIq4_NL>(wide);
    case DType::iq4_XS:
      return matvec_launcher<FormatIq4_XS>(wide);
    case DType::mxfp4:
      return matvec_launcher<FormatMxfp4>(wide);
    default:
      return nullptr;
  }
}

}  // namespace lm::cuda
