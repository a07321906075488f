#include "engine/model/weight_plan.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "engine/core/check.h"
#include "engine/core/text.h"
#include "quant/decode.h"

namespace lm {
namespace {

// "4×64×32" for {4, 64, 32}; leading ones are left out.
std::string shape_text(std::array<int64_t, 3> shape) {
  std::string text;
  for (const int64_t n : shape) {
    if (!text.empty()) text += "×";
    if (!text.empty() || n != 1) text += std::to_string(n);
  }
  return text.empty() ? "1" : text;
}

// A tensor of the file in our order: {experts, rows, cols}.
std::array<int64_t, 3> shape_of(const gguf::TensorInfo& info) {
  return {info.dims[2], info.dims[1], info.dims[0]};
}

}  // namespace

Result<const gguf::TensorInfo*> WeightPlan::find(const std::string& name,
                                                 std::array<int64_t, 3> shape) {
  const gguf::TensorInfo* info = file_.tensor(name);
  if (info == nullptr) {
    return Error{ErrorCode::bad_file,
                 concat("expected ", name, " of ", shape_text(shape), ", found no such tensor")};
  }
  if (shape_of(*info) != shape || info->dims[3] != 1) {
    return Error{ErrorCode::bad_file, concat("expected ", name, " of ", shape_text(shape),
                                             ", found ", shape_text(shape_of(*info)))};
  }
  used_.insert(info);
  return info;
}

void WeightPlan::count(std::span<const std::byte> bytes, double share) {
  weights_->bytes_per_token += uint64_t(double(bytes.size()) * share);
}

void WeightPlan::add(const std::string& name, const gguf::TensorInfo& info, WeightUse use,
                     std::array<int64_t, 3> shape, Tensor& to) {
  items_.push_back(
      {name, {info.dtype, {1, shape[0], shape[1], shape[2]}, info.bytes}, use, part_, &to, {}});
}

Status WeightPlan::vector(const std::string& name, int64_t n, Tensor& to) {
  const std::array<int64_t, 3> shape{1, 1, n};
  add(name, *LM_TRY(find(name, shape)), WeightUse::vector, shape, to);
  return ok();
}

Status WeightPlan::matrix(const std::string& name, int64_t rows, int64_t cols, Tensor& to) {
  const std::array<int64_t, 3> shape{1, rows, cols};
  add(name, *LM_TRY(find(name, shape)), WeightUse::matrix, shape, to);
  count(items_.back().host.bytes, 1);
  return ok();
}

Status WeightPlan::table(const std::string& name, int64_t rows, int64_t cols, Tensor& to) {
  const std::array<int64_t, 3> shape{1, rows, cols};
  add(name, *LM_TRY(find(name, shape)), WeightUse::rows, shape, to);
  return ok();
}

Status WeightPlan::optional_order(const std::string& name, int64_t n, Tensor& to) {
  if (!has(name)) return ok();
  const std::array<int64_t, 3> shape{1, 1, n};
  const gguf::TensorInfo& info = *LM_TRY(find(name, shape));
  std::vector<bool> seen(size_t(n), false);
  for (int64_t j = 0; j < n; ++j) {
    int32_t column = -1;
    if (info.dtype == DType::i32) std::memcpy(&column, info.bytes.data() + 4 * j, sizeof column);
    if (column < 0 || column >= n || seen[size_t(column)]) {
      return Error{ErrorCode::bad_file, concat("expected ", name, " to hold each of 0 to ", n - 1,
                                               " once, as i32, found otherwise at ", j)};
    }
    seen[size_t(column)] = true;
  }
  add(name, info, WeightUse::rows, shape, to);
  return ok();
}

Status WeightPlan::split_matrix(const std::string& name, int64_t cols,
                                std::span<const Slice> slices) {
  int64_t rows = 0;
  for (const Slice& slice : slices) rows += slice.rows;
  const gguf::TensorInfo& info = *LM_TRY(find(name, {1, rows, cols}));
  const size_t stride = row_bytes(info.dtype, cols);
  size_t first = 0;  // bytes
  for (const Slice& slice : slices) {
    const size_t bytes = size_t(slice.rows) * stride;
    items_.push_back({name,
                      {info.dtype, {1, 1, slice.rows, cols}, info.bytes.subspan(first, bytes)},
                      WeightUse::matrix,
                      part_,
                      slice.to,
                      {}});
    count(items_.back().host.bytes, 1);
    first += bytes;
  }
  return ok();
}

Status WeightPlan::split_vector(const std::string& name, std::span<const Slice> slices) {
  int64_t n = 0;
  for (const Slice& slice : slices) n += slice.rows;
  const gguf::TensorInfo& info = *LM_TRY(find(name, {1, 1, n}));
  if (dtype_info(info.dtype).block_elems != 1) {
    return Error{ErrorCode::unsupported,
                 concat("expected ", name, " as plain numbers, found ", dtype_name(info.dtype))};
  }
  const size_t element = row_bytes(info.dtype, 1);
  size_t first = 0;  // bytes
  for (const Slice& slice : slices) {
    const size_t bytes = size_t(slice.rows) * element;
    items_.push_back({name,
                      {info.dtype, {1, 1, 1, slice.rows}, info.bytes.subspan(first, bytes)},
                      WeightUse::vector,
                      part_,
                      slice.to,
                      {}});
    first += bytes;
  }
  return ok();
}

Result<DType> WeightPlan::expert_matrices(const std::string& stem, int64_t n_experts, int64_t rows,
                                          int64_t cols, double share, Tensor& to) {
  const std::string whole = stem + "_exps.weight";
  const std::array<int64_t, 3> shape{n_experts, rows, cols};
  if (has(whole) || !has(stem + ".0.weight")) {
    add(whole, *LM_TRY(find(whole, shape)), WeightUse::matrix, shape, to);
    count(items_.back().host.bytes, share);
    return items_.back().host.dtype;
  }
  std::vector<std::span<const std::byte>> pieces;
  DType dtype = DType::f32;
  for (int64_t e = 0; e < n_experts; ++e) {
    const std::string name = concat(stem, ".", e, ".weight");
    const gguf::TensorInfo& info = *LM_TRY(find(name, {1, rows, cols}));
    if (e == 0) dtype = info.dtype;
    if (info.dtype != dtype) {
      return Error{ErrorCode::unsupported, concat("expected ", name, " in ", dtype_name(dtype),
                                                  " as expert 0, found ", dtype_name(info.dtype))};
    }
    pieces.push_back(info.bytes);
  }
  items_.push_back({stem,
                    {dtype, {1, n_experts, rows, cols}, {}},
                    WeightUse::matrix,
                    part_,
                    &to,
                    std::move(pieces)});
  for (const std::span<const std::byte> piece : items_.back().pieces) count(piece, share);
  return dtype;
}

Status WeightPlan::expert_vectors(const std::string& name, int64_t n_experts, int64_t rows,
                                  Tensor& to) {
  const std::array<int64_t, 3> shape{1, n_experts, rows};
  add(name, *LM_TRY(find(name, shape)), WeightUse::vector, shape, to);
  return ok();
}

void WeightPlan::constant(std::span<const float> values, Tensor& to) {
  items_.push_back({"",
                    {DType::f32, {1, 1, 1, int64_t(values.size())}, std::as_bytes(values)},
                    WeightUse::vector,
                    part_,
                    &to,
                    {}});
}

Result<std::vector<float>> WeightPlan::numbers(const std::string& name, int64_t n) {
  const gguf::TensorInfo& info = *LM_TRY(find(name, {1, 1, n}));
  std::vector<float> values(size_t(n), 0.0f);
  decode(info.dtype, info.bytes.data(), values.data(), n);
  return values;
}

Status WeightPlan::check_all_used() const {
  for (const gguf::TensorInfo& info : file_.tensors()) {
    // Some files carry an image encoder beside the decoder.
    const bool other_model = info.name.starts_with("v.") || info.name.starts_with("mm.");
    if (!other_model && !used_.contains(&info)) {
      return Error{ErrorCode::unsupported,
                   concat("found tensor ", printable(info.name),
                          ", which is not part of the architecture that the file names")};
    }
  }
  return ok();
}

uint64_t WeightPlan::Item::bytes() const {
  uint64_t bytes = host.bytes.size();
  for (const std::span<const std::byte> piece : pieces) bytes += piece.size();
  return bytes;
}

std::vector<ListedWeight> WeightPlan::list() const {
  std::vector<ListedWeight> listed;
  for (const Item& item : items_) {
    if (item.name.empty()) continue;
    listed.push_back({.part = item.part,
                      .shape = {item.host.dtype, item.host.shape, item.use},
                      .file_bytes = item.bytes()});
  }
  return listed;
}

Status WeightPlan::join(Item& item) {
  const size_t bytes = item.bytes();
  std::unique_ptr<std::byte[]> joined(new (std::nothrow) std::byte[bytes]);
  if (joined == nullptr) {
    return Error{ErrorCode::out_of_memory,
                 concat("expected ", bytes, " bytes of memory for ", item.name, ", found less")};
  }
  size_t at = 0;
  for (const std::span<const std::byte> piece : item.pieces) {
    std::memcpy(joined.get() + at, piece.data(), piece.size());
    at += piece.size();
  }
  for (const std::span<const std::byte> piece : item.pieces) file_.release(piece);
  item.host.bytes = {joined.get(), bytes};
  weights_->joined.push_back(std::move(joined));
  return ok();
}

Status WeightPlan::load(Item& item, const ModelRoom& room) {
  if (!item.pieces.empty()) LM_TRY(join(item));
  item.host.name = item.name;
  const bool borrowed = room.in_place && item.use == WeightUse::matrix;
  const WeightUse use = borrowed ? WeightUse::rows : item.use;
  Result<LoadedWeight> loaded = room.backend->load_weight(item.host, use);
  if (!loaded.ok()) return std::move(loaded).error().within(item.name);
  LoadedWeight weight = std::move(loaded).value();
  const bool copied = weight.buffer->base() != item.host.bytes.data();
  if (copied && item.pieces.empty()) file_.release(item.host.bytes);
  if (copied && !item.pieces.empty()) weights_->joined.pop_back();
  *item.to = weight.tensor;
  weights_->buffers.push_back(std::move(weight.buffer));
  return ok();
}

Status WeightPlan::load(std::span<const ModelRoom> rooms, const LoadProgress& progress) {
  uint64_t total = 0, done = 0;
  for (const Item& item : items_) total += item.bytes();
  if (progress) progress(done, total);
  // While a weight is copied it is in memory twice: the largest first, when there is little else.
  std::stable_sort(items_.begin(), items_.end(),
                   [](const Item& a, const Item& b) { return a.bytes() > b.bytes(); });
  for (Item& item : items_) {
    const uint64_t bytes = item.bytes();
    LM_TRY(load(item, rooms[size_t(placement_.room(item.part))]));
    done += bytes;
    if (progress) progress(done, total);
  }
  return ok();
}

}  // namespace lm
