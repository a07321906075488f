// engine/tools/hf_quantization.h — checkpoints that hold integers: what config.json says of them,
// and a module's tensors as an IntMatrix or an Fp8Matrix with every shape and index checked.
// Tensors decide (bits and groups follow from their shapes, as per-module overrides may change
// them); what config.json promises for all modules must agree.
// Sources: AutoGPTQ and GPTQModel (qlinear_cuda.py, convert_gptq_v1_to_v2_format), AutoAWQ
// (gemm.py, gemv.py), compressed-tensors (pack_quantized, int-quantized), transformers (fp8).
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "engine/core/json.h"
#include "engine/core/result.h"
#include "gguf/safetensors.h"
#include "quant/int_matrix.h"

namespace lm::hf {

struct Quantization {
  enum class Layout : uint8_t { none, gptq, awq_gemm, awq_gemv, compressed, fp8 };
  Layout layout = Layout::none;
  std::string name;                        // "gptq", "awq", ...
  int64_t bits = 0;                        // of all modules; 0: config.json leaves it open
  int64_t group_size = 0;                  // -1: a group is a whole row; 0: left open
  bool symmetric = false;                  // promised for all modules
  bool zeros_promised = false;             // compressed: every module has zero-points
  bool zeros_minus_one = false;            // gptq: not the second format
  int64_t block_rows = 0, block_cols = 0;  // fp8: of the numbers that share a scale
};

// From config.json, or the file of its own that older tools wrote beside it. `unsupported` names a
// format that no reader here unpacks.
Result<Quantization> read_quantization(const SortedJson& config,
                                       const std::filesystem::path& folder);

// 8-bit floats; a scale for each block of block_rows × block_cols of them.
struct Fp8Matrix {
  const std::byte* data = nullptr;  // [rows, cols]
  bool e5m2 = false;                // else E4M3 (OCP FP8, the variant without infinities)
  int64_t rows = 0, cols = 0;
  const std::byte* scales = nullptr;
  DType scale_type = DType::f32;
  int64_t block_rows = 1, block_cols = 1, scale_cols = 1;

  void numbers(int64_t row, float* out) const;
  float greatest_scale() const;  // in magnitude; NaN when one is
};

// Looks a tensor up and notes that it was needed; nullptr when absent.
using UseTensor = std::function<const safetensors::TensorInfo*(const std::string& name)>;

// What was odd about a checkpoint, counted over its modules.
struct QuantizationNotes {
  size_t zeros_of_second_format = 0;  // promised as the first
  size_t ambiguous_zeros = 0;         // matrices with a stored zero-point of all ones
  std::vector<std::string> text() const;
};

// The module `stem` ("model.layers.0.mlp.up_proj") of `rows` outputs and `cols` inputs; nullopt
// when its tensors are not there.
Result<std::optional<IntMatrix>> bind_int_matrix(const Quantization& quantization,
                                                 const std::string& stem, int64_t rows,
                                                 int64_t cols, const UseTensor& use,
                                                 QuantizationNotes& notes);
// `weight` holds 8-bit floats.
Result<Fp8Matrix> bind_fp8_matrix(const Quantization& quantization, const std::string& stem,
                                  const safetensors::TensorInfo& weight, const UseTensor& use);

}  // namespace lm::hf
