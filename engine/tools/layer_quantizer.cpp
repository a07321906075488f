#include "engine/tools/layer_quantizer.h"

#include <algorithm>
#include <numeric>
#include <optional>

#include "engine/core/check.h"
#include "engine/tools/quantize_method.h"
#include "quant/activation_scales.h"
#include "quant/decode.h"
#include "quant/encode.h"

namespace lm {
namespace {

// Rows of a group's matrices that a search for scales looks at.
constexpr int64_t kSampledRows = 512;
// Rows that a Hessian gains, for each column, to stand for those that were not seen: of columns
// that have nothing to do with each other, and of what all experts read. Of experts that K/128 to 2
// K rows reached, on activations of TinyStories-656K cut into four experts and measured on other
// rows.
constexpr double kPriorRows = 0.3, kSharedRows = 1;

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

bool reached(const InputGroup& group, const Hessian& hessian) {
  return group.expert < 0 || hessian.n_rows() > 0;
}

bool reads_ffn_input(const gguf::TensorInfo& tensor) {
  return is_matrix(tensor) && (tensor.name.find("ffn_gate") != std::string_view::npos ||
                               tensor.name.find("ffn_up") != std::string_view::npos);
}

// Some rows of all matrices of a group, spread evenly.
std::vector<float> sample_rows(std::span<const std::span<float>> matrices, int64_t n_cols) {
  int64_t rows = 0;
  for (const std::span<float> w : matrices) rows += int64_t(w.size()) / n_cols;
  const int64_t count = std::min(rows, kSampledRows);
  std::vector<float> sample;
  for (int64_t i = 0; i < count; ++i) {
    int64_t row = i * rows / count;
    for (const std::span<float> w : matrices) {
      const int64_t n = int64_t(w.size()) / n_cols;
      if (row < n) {
        const auto first = w.begin() + row * n_cols;
        sample.insert(sample.end(), first, first + n_cols);
        break;
      }
      row -= n;
    }
  }
  return sample;
}

}  // namespace

Result<LayerQuantizer> LayerQuantizer::create(std::vector<LayerTensor> tensors,
                                              std::optional<Hessian> shared,
                                              const LayerMethodOptions& options,
                                              ThreadPool& threads) {
  LayerQuantizer quantizer(std::move(tensors), options, threads);
  if (shared) {
    quantizer.shared_importance_ = shared->diagonal();
    shared->add_prior(quantizer.shared_importance_, kPriorRows * double(shared->n_cols()));
    quantizer.shared_ = std::move(shared);
  }
  LM_TRY(quantizer.read_numbers());
  return quantizer;
}

Status LayerQuantizer::read_numbers() {
  for (const LayerTensor& tensor : tensors_) {
    const gguf::TensorInfo& from = *tensor.from;
    const DTypeInfo& info = dtype_info(from.dtype);
    if (from.dtype == DType::i32) continue;  // (an order of columns: stays as it is)
    std::vector<float> values(from.bytes.size() / size_t(info.block_bytes) *
                              size_t(info.block_elems));
    const int64_t rows = n_rows(from), cols = from.dims[0],
                  row = int64_t(row_bytes(from.dtype, cols));
    threads_->parallel_for(rows, [&](int64_t r, int) {
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
      tensors_, [&](const LayerTensor& tensor) { return tensor.from->name == name; });
  return found == tensors_.end() ? nullptr : &*found;
}

std::vector<LayerQuantizer::Slice> LayerQuantizer::slices(const InputGroup& group) {
  std::vector<Slice> slices;
  for (const std::string& name : group.tensors) {
    const LayerTensor& matrix = *tensor(name);
    if (!has_grid(matrix.type)) continue;
    const TensorRows rows = rows_of(*matrix.from, group);
    slices.push_back(
        {&matrix,
         std::span(*numbers(name))
             .subspan(size_t(rows.first * group.n_cols), size_t(rows.rows * group.n_cols)),
         rows.first, rows.rows});
  }
  return slices;
}

// Where a row of the tensor goes.
std::byte* LayerQuantizer::bytes(const LayerTensor& tensor, int64_t row) {
  const size_t stride = row_bytes(tensor.type, tensor.from->dims[0]);
  std::vector<std::byte>& all = bytes_[std::string(tensor.from->name)];
  all.resize(size_t(n_rows(*tensor.from)) * stride);
  return all.data() + size_t(row) * stride;
}

// All experts read the same before their activation; behind it each has columns of its own.
bool LayerQuantizer::reads_shared(const InputGroup& group) const {
  return shared_ && reads_ffn_input(*tensor(group.tensors.front())->from);
}

void LayerQuantizer::add_prior(const InputGroup& group, Hessian& hessian) const {
  const auto n = double(hessian.n_cols());
  if (reads_shared(group)) return hessian.add_prior(*shared_, kSharedRows * n);
  const std::vector<float> own = hessian.diagonal();
  const double sum = std::accumulate(own.begin(), own.end(), 0.0);
  hessian.add_prior(std::vector<float>(own.size(), float(sum / n)), kPriorRows * n);
}

Status LayerQuantizer::feed_back(const InputGroup& group, const Hessian& hessian) {
  std::optional<FeedbackPlan> plan;
  for (const Slice& slice : slices(group)) {
    if (!plan) plan = LM_TRY(plan_feedback(hessian, options_.feedback, *threads_));
    quantize_with_feedback(*plan, options_.format(slice.tensor->type), slice.numbers, slice.rows,
                           bytes(*slice.tensor, slice.first), *threads_);
  }
  return ok();
}

// Columns times s, what produces them divided by s. Returns s, or nothing where all are 1.
std::vector<float> LayerQuantizer::scale(const InputGroup& group, const Hessian& hessian) {
  const std::vector<Slice> slices = this->slices(group);
  const auto known = [&](const TensorRows& rows) { return numbers(rows.tensor) != nullptr; };
  if (slices.empty() || group.producers.empty() || !std::ranges::all_of(group.producers, known))
    return {};
  std::vector<std::span<float>> matrices;
  for (const Slice& slice : slices) matrices.push_back(slice.numbers);
  const std::vector<float> sample = sample_rows(matrices, group.n_cols);
  // Scales are searched for the type of the first matrix.
  ScaleSearch found =
      search_scales(hessian, options_.format(slices.front().tensor->type), sample,
                    int64_t(sample.size()) / group.n_cols, group.producer_row, *threads_);
  for (const std::string& name : group.tensors) {
    const TensorRows rows = rows_of(*tensor(name)->from, group);
    float* w = numbers(name)->data() + rows.first * group.n_cols;
    for (int64_t i = 0; i < rows.rows * group.n_cols; ++i)
      w[i] *= found.scales[size_t(i % group.n_cols)];
  }
  for (const TensorRows& producer : group.producers) divide_rows(producer, group, found.scales);
  return std::move(found.scales);
}

void LayerQuantizer::divide_rows(const TensorRows& producer, const InputGroup& group,
                                 std::span<const float> scales) {
  const gguf::TensorInfo& from = *tensor(producer.tensor)->from;
  std::vector<float>& values = *numbers(producer.tensor);
  const int64_t width = is_matrix(from) ? from.dims[0] : 1;
  std::vector<float> by_row(size_t(producer.rows), 1.0f);
  for (int64_t k = 0; k < group.n_cols; ++k)
    by_row[group.producer_row.empty() ? size_t(k) : size_t(group.producer_row[size_t(k)])] =
        scales[size_t(k)];
  for (int64_t r = 0; r < producer.rows; ++r) {
    for (int64_t j = 0; j < width; ++j)
      values[size_t((producer.first + r) * width + j)] /= by_row[size_t(r)];
  }
}

void LayerQuantizer::clip(const InputGroup& group, const Hessian& hessian,
                          std::span<const float> scales) {
  std::optional<BlockHessians> blocks;
  for (const Slice& slice : slices(group)) {
    const DType type = slice.tensor->type;
    const GridFormat format = options_.format(type);
    if (!blocks || blocks->block() != format.block_elems())
      blocks.emplace(hessian, scales, format.block_elems());
    std::byte* out = bytes(*slice.tensor, slice.first);
    if (may_clip(slice.tensor->from->name)) {
      quantize_clipped(*blocks, format, slice.numbers, slice.rows, out, *threads_);
      continue;
    }
    const std::span<const float> importance =
        is_i4g(type) ? std::span<const float>() : blocks->diagonal();
    const auto cols = size_t(group.n_cols), stride = row_bytes(type, group.n_cols);
    threads_->parallel_for(slice.rows, [&](int64_t r, int) {
      round_to_nearest(format, slice.numbers.subspan(size_t(r) * cols, cols), importance,
                       out + size_t(r) * stride);
    });
  }
}

void LayerQuantizer::write_plainly(const LayerTensor& tensor, int64_t first, int64_t rows) {
  const gguf::TensorInfo& from = *tensor.from;
  const std::vector<float>* values = numbers(from.name);
  if (values == nullptr) {
    bytes_.emplace(from.name, std::vector<std::byte>(from.bytes.begin(), from.bytes.end()));
    return;
  }
  const auto cols = size_t(from.dims[0]), stride = row_bytes(tensor.type, from.dims[0]);
  std::span<const float> importance;
  if (reads_ffn_input(from)) importance = shared_importance_;
  std::byte* out = bytes(tensor, first);
  threads_->parallel_for(rows, [&](int64_t r, int) {
    encode(tensor.type, std::span(*values).subspan(size_t(first + r) * cols, cols),
           out + size_t(r) * stride, importance);
  });
}

Status LayerQuantizer::add(std::span<const InputGroup> groups, std::vector<Hessian> hessians) {
  LM_CHECK(groups.size() == hessians.size());
  for (size_t i = 0; i < groups.size(); ++i) {
    if (groups[i].expert >= 0 && reached(groups[i], hessians[i])) add_prior(groups[i], hessians[i]);
  }
  const bool awq = options_.method == LayerMethod::awq;
  std::vector<std::vector<float>> scales(groups.size());
  for (size_t i = 0; awq && i < groups.size(); ++i) {
    if (reached(groups[i], hessians[i])) scales[i] = scale(groups[i], hessians[i]);
  }
  for (size_t i = 0; i < groups.size(); ++i) {
    const bool is_reached = reached(groups[i], hessians[i]);
    if (!is_reached) unreached_.insert(groups[i].expert);
    const Hessian* hessian = is_reached                ? &hessians[i]
                             : reads_shared(groups[i]) ? &*shared_
                                                       : nullptr;
    if (hessian == nullptr) {
      for (const Slice& slice : slices(groups[i]))
        write_plainly(*slice.tensor, slice.first, slice.rows);
    } else if (awq) {
      clip(groups[i], *hessian, scales[i]);
    } else {
      LM_TRY(feed_back(groups[i], *hessian));
    }
  }
  return ok();
}

LayerBytes LayerQuantizer::finish() && {
  for (const LayerTensor& tensor : tensors_) {
    if (!bytes_.contains(tensor.from->name)) write_plainly(tensor, 0, n_rows(*tensor.from));
  }
  return std::move(bytes_);
}

}  // namespace lm
