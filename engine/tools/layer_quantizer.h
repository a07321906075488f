// engine/tools/layer_quantizer.h — one layer's tensors in their new types, by what its matrices'
// inputs look like: GPTQ rounds with error feedback, AWQ scales channels first and then clips.
#pragma once
#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/core/result.h"
#include "engine/core/thread_pool.h"
#include "engine/tools/layer_tensors.h"
#include "gguf/file.h"
#include "quant/block_grid.h"
#include "quant/error_feedback.h"
#include "quant/hessian.h"

namespace lm {

enum class LayerMethod { gptq, awq };

struct LayerMethodOptions {
  LayerMethod method = LayerMethod::gptq;
  std::optional<int> bits{};  // of i4g types: 2, 3 or 4; nothing: 4, and other types need none
  bool symmetric = false;     // likewise
  FeedbackOptions feedback{};

  GridFormat format(DType type) const {
    return {.type = type, .bits = bits.value_or(4), .symmetric = symmetric};
  }
};

struct LayerTensor {
  const gguf::TensorInfo* from;
  DType type;  // that it becomes
};

// Bytes of every tensor of the layer, by name.
using LayerBytes = std::map<std::string, std::vector<std::byte>, std::less<>>;

// Made for one layer, given its groups in batches, as many as there is memory for Hessians, and
// then asked for the bytes, which do not depend on where one batch ended and the next began.
class LayerQuantizer {
 public:
  // All tensors of the layer, and the Hessian of what all experts read where there are any: an
  // expert that few tokens reached is taken to read the like where they leave it open; one that
  // none reached is quantized by it alone, and what reads behind its activation is rounded to
  // nearest. bad_file for weights that are not finite.
  static Result<LayerQuantizer> create(std::vector<LayerTensor> tensors,
                                       std::optional<Hessian> shared,
                                       const LayerMethodOptions& options, ThreadPool& threads);

  // Groups with the Hessians of their inputs. All groups of an expert, and all that are of none,
  // come together: AWQ folds the scales of one into rows of another.
  Status add(std::span<const InputGroup> groups, std::vector<Hessian> hessians);
  // Behind the last batch. What is in no group or has no grid is rounded to nearest.
  LayerBytes finish() &&;

  size_t n_unreached_experts() const { return unreached_.size(); }  // of those added

 private:
  LayerQuantizer(std::vector<LayerTensor> tensors, const LayerMethodOptions& options,
                 ThreadPool& threads)
      : tensors_(std::move(tensors)), options_(options), threads_(&threads) {}

  // What a group has of one tensor.
  struct Slice {
    const LayerTensor* tensor;
    std::span<float> numbers;
    int64_t first, rows;  // of the tensor
  };

  Status read_numbers();
  std::vector<float>* numbers(std::string_view name);
  const LayerTensor* tensor(std::string_view name) const;
  std::vector<Slice> slices(const InputGroup& group);  // those with a grid
  std::byte* bytes(const LayerTensor& tensor, int64_t row);

  bool reads_shared(const InputGroup& group) const;
  void add_prior(const InputGroup& group, Hessian& hessian) const;
  Status feed_back(const InputGroup& group, const Hessian& hessian);
  std::vector<float> scale(const InputGroup& group, const Hessian& hessian);
  void divide_rows(const TensorRows& producer, const InputGroup& group,
                   std::span<const float> scales);
  void clip(const InputGroup& group, const Hessian& hessian, std::span<const float> scales);
  // Rows without the method, or a vector.
  void write_plainly(const LayerTensor& tensor, int64_t first, int64_t rows);

  std::vector<LayerTensor> tensors_;
  LayerMethodOptions options_;
  ThreadPool* threads_;
  std::map<std::string, std::vector<float>, std::less<>> numbers_;
  std::optional<Hessian> shared_;  // of all experts
  std::vector<float> shared_importance_;
  std::set<int> unreached_;  // experts
  LayerBytes bytes_;
};

}  // namespace lm
