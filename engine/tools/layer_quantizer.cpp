#include "engine/tools/layer_quantizer.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "engine/core/text.h"
#include "engine/tools/quantize_method.h"
#include "quant/activation_scales.h"
#include "quant/decode.h"
#include "quant/encode.h"

namespace lm {
namespace {

// Rows of a group's matrices that a search for scales looks at.
constexpr int64_t kSampledRows = 512;

bool is_matrix(const gguf::TensorInfo& tensor) {
  return tensor.n_dims > 1 && tensor.name.ends_with(".weight");
}

int64_t n_rows(const gguf::TensorInfo& tensor) {
  return tensor.dims[1] * tensor.dims[2] * tensor.dims[3];
}

// Queries and keys meet in a product, where a clipped range costs more than it seems (llm-awq).
bool may_clip(std::string_view name) {
  return !name.ends_with("attn_q.weight") && !name.ends_with("attn_k.weight") &&
         !name.ends_with("attn_qkv.weight");
}

class LayerQuantizer {
 public:
  LayerQuantizer(const LayerJob& job, const LayerMethodOptions& options)
      : job_(job), options_(options) {}

  Result<LayerBytes> run();

 private:
  Status read_numbers();
  std::vector<float>* numbers(std::string_view name);
  const LayerTensor* tensor(std::string_view name) const;

  Status feed_back(const InputGroup& group, const Hessian& hessian);
  void scale(const InputGroup& group, const Hessian& hessian);
  void clip(const InputGroup& group, const Hessian& hessian, std::span<const float> scales);
  // A matrix without the method, or a vector.
  void write_plainly(const LayerTensor& tensor, std::span<const float> importance);

  const LayerJob& job_;
  const LayerMethodOptions& options_;
  std::map<std::string, std::vector<float>, std::less<>> numbers_;
  std::vector<std::vector<float>> scales_;  // AWQ's, of each group; empty: all 1
  LayerBytes bytes_;
};

Status LayerQuantizer::read_numbers() {
  for (const LayerTensor& tensor : job_.tensors) {
    const gguf::TensorInfo& from = *tensor.from;
    const DTypeInfo& info = dtype_info(from.dtype);
    if (from.dtype == DType::i32) continue;  // (an order of columns: stays as it is)
    std::vector<float> values(from.bytes.size() / size_t(info.block_bytes) *
                              size_t(info.block_elems));
    const int64_t rows = n_rows(from), cols = from.dims[0],
                  row = int64_t(row_bytes(from.dtype, cols));
    job_.threads.parallel_for(rows, [&](int64_t r, int) {
      decode(from.dtype, from.bytes.data() + r * row, values.data() + r * cols, cols);
    });
    if (!all_finite(values)) return not_finite(from);
    numbers_.emplace(from.name, std::move(values));
  }
  return ok();
}

std::vector<float>* LayerQuantizer::numbers(std::string_view name) {
  const auto found = numbers_.find(name);
  return found == numbers_.end() ? nullptr : &found->second;
}

const LayerTensor* LayerQuantizer::tensor(std::string_view name) const {
  const auto found = std::ranges::find_if(
      job_.tensors, [&](const LayerTensor& tensor) { return tensor.from->name == name; });
  return found == job_.tensors.end() ? nullptr : &*found;
}

Status LayerQuantizer::feed_back(const InputGroup& group, const Hessian& hessian) {
  std::optional<FeedbackPlan> plan;
  for (const std::string& name : group.tensors) {
    const LayerTensor& matrix = *tensor(name);
    if (!has_grid(matrix.type)) continue;
    if (!plan) plan = LM_TRY(plan_feedback(hessian, options_.feedback, job_.threads));
    const std::vector<float>& w = *numbers(name);
    std::vector<std::byte> out(row_bytes(matrix.type, int64_t(w.size())));
    quantize_with_feedback(*plan, options_.format(matrix.type), w, n_rows(*matrix.from), out.data(),
                           job_.threads);
    bytes_.emplace(name, std::move(out));
  }
  return ok();
}

// Some rows of all matrices of a group, spread evenly.
std::vector<float> sample_rows(std::span<const std::vector<float>* const> matrices,
                               int64_t n_cols) {
  int64_t rows = 0;
  for (const std::vector<float>* w : matrices) rows += int64_t(w->size()) / n_cols;
  const int64_t count = std::min(rows, kSampledRows);
  std::vector<float> sample;
  for (int64_t i = 0; i < count; ++i) {
    int64_t row = i * rows / count;
    for (const std::vector<float>* w : matrices) {
      const int64_t n = int64_t(w->size()) / n_cols;
      if (row < n) {
        const auto first = w->begin() + row * n_cols;
        sample.insert(sample.end(), first, first + n_cols);
        break;
      }
      row -= n;
    }
  }
  return sample;
}

// Columns times s, what produces them divided by s. (Into scales_, for clip().)
void LayerQuantizer::scale(const InputGroup& group, const Hessian& hessian) {
  scales_.emplace_back();
  std::vector<const std::vector<float>*> matrices;
  std::optional<DType> type;  // what scales are searched for: that of the first matrix
  for (const std::string& name : group.tensors) {
    if (!has_grid(tensor(name)->type)) continue;
    if (!type) type = tensor(name)->type;
    matrices.push_back(numbers(name));
  }
  const auto known = [&](const TensorRows& rows) { return numbers(rows.tensor) != nullptr; };
  if (!type || group.producers.empty() || !std::ranges::all_of(group.producers, known)) return;
  const std::vector<float> sample = sample_rows(matrices, group.n_cols);
  const ScaleSearch found =
      search_scales(hessian, options_.format(*type), sample, int64_t(sample.size()) / group.n_cols,
                    group.producer_row, job_.threads);
  for (const std::string& name : group.tensors) {
    std::vector<float>& w = *numbers(name);
    for (size_t i = 0; i < w.size(); ++i) w[i] *= found.scales[i % size_t(group.n_cols)];
  }
  for (const TensorRows& producer : group.producers) {
    std::vector<float>& values = *numbers(producer.tensor);
    const auto width = int64_t(
        tensor(producer.tensor)->from->n_dims > 1 ? tensor(producer.tensor)->from->dims[0] : 1);
    std::vector<float> by_row(size_t(producer.rows), 1.0f);
    for (int64_t k = 0; k < group.n_cols; ++k)
      by_row[group.producer_row.empty() ? size_t(k) : size_t(group.producer_row[size_t(k)])] =
          found.scales[size_t(k)];
    for (int64_t r = 0; r < producer.rows; ++r) {
      for (int64_t j = 0; j < width; ++j)
        values[size_t((producer.first + r) * width + j)] /= by_row[size_t(r)];
    }
  }
  scales_.back() = found.scales;
}

void LayerQuantizer::clip(const InputGroup& group, const Hessian& hessian,
                          std::span<const float> scales) {
  std::optional<BlockHessians> blocks;
  for (const std::string& name : group.tensors) {
    const LayerTensor& matrix = *tensor(name);
    if (!has_grid(matrix.type)) continue;
    const GridFormat format = options_.format(matrix.type);
    if (!blocks || blocks->block() != format.block_elems())
      blocks.emplace(hessian, scales, format.block_elems());
    const std::vector<float>& w = *numbers(name);
    const int64_t rows = n_rows(*matrix.from), cols = group.n_cols;
    std::vector<std::byte> out(row_bytes(matrix.type, int64_t(w.size())));
    if (may_clip(name)) {
      quantize_clipped(*blocks, format, w, rows, out.data(), job_.threads);
    } else {
      const std::span<const float> importance =
          is_i4g(matrix.type) ? std::span<const float>() : blocks->diagonal();
      const auto bytes = int64_t(row_bytes(matrix.type, cols));
      job_.threads.parallel_for(rows, [&](int64_t r, int) {
        round_to_nearest(format, std::span(w).subspan(size_t(r * cols), size_t(cols)), importance,
                         out.data() + r * bytes);
      });
    }
    bytes_.emplace(name, std::move(out));
  }
}

void LayerQuantizer::write_plainly(const LayerTensor& tensor, std::span<const float> importance) {
  const gguf::TensorInfo& from = *tensor.from;
  const std::vector<float>* values = numbers(from.name);
  std::vector<std::byte> out(from.bytes.begin(), from.bytes.end());
  if (values != nullptr) {
    const int64_t rows = n_rows(from), cols = from.dims[0],
                  bytes = int64_t(row_bytes(tensor.type, cols));
    out.resize(size_t(rows * bytes));
    if (importance.size() != size_t(cols)) importance = {};
    job_.threads.parallel_for(rows, [&](int64_t r, int) {
      encode(tensor.type, std::span(*values).subspan(size_t(r * cols), size_t(cols)),
             out.data() + r * bytes, importance);
    });
  }
  bytes_.emplace(from.name, std::move(out));
}

Result<LayerBytes> LayerQuantizer::run() {
  LM_TRY(read_numbers());
  if (options_.method == LayerMethod::awq) {
    for (size_t i = 0; i < job_.groups.size(); ++i) scale(job_.groups[i], job_.hessians[i]);
  }
  for (size_t i = 0; i < job_.groups.size(); ++i) {
    if (options_.method == LayerMethod::awq) {
      clip(job_.groups[i], job_.hessians[i], scales_[i]);
    } else {
      LM_TRY(feed_back(job_.groups[i], job_.hessians[i]));
    }
  }
  for (const LayerTensor& tensor : job_.tensors) {
    if (bytes_.contains(tensor.from->name)) continue;
    const bool reads_ffn_input =
        is_matrix(*tensor.from) && (tensor.from->name.find("ffn_gate") != std::string_view::npos ||
                                    tensor.from->name.find("ffn_up") != std::string_view::npos);
    write_plainly(tensor, reads_ffn_input ? std::span<const float>(job_.ffn_importance)
                                          : std::span<const float>());
  }
  return std::move(bytes_);
}

}  // namespace

Result<LayerBytes> quantize_layer(const LayerJob& job, const LayerMethodOptions& options) {
  return LayerQuantizer(job, options).run();
}

}  // namespace lm
