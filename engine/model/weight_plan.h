// engine/model/weight_plan.h — the list of what will be loaded, and where to. Entering a weight
// finds it in the file and checks its shape; load() then hands everything to the backends in
// file-sized steps.
#pragma once
#include <cstdint>
#include <string>
#include <unordered_set>
#include <vector>

#include "backends/backend.h"
#include "engine/core/result.h"
#include "engine/model/weights.h"
#include "gguf/file.h"

namespace lm {

class WeightPlan {
 public:
  WeightPlan(const gguf::File& file, const Placement& placement, ModelWeights& weights)
      : file_(file), placement_(placement), weights_(&weights) {}

  bool has(const std::string& name) const { return file_.tensor(name) != nullptr; }

  // What comes next is of this part, and in its room.
  void enter(PartId part) { part_ = part; }
  int room() const { return placement_.room(part_); }

  // Each enters one tensor of the file; `to` is filled in by load().
  Status vector(const std::string& name, int64_t n, Tensor& to);
  Status matrix(const std::string& name, int64_t rows, int64_t cols, Tensor& to);
  Status table(const std::string& name, int64_t rows, int64_t cols, Tensor& to);  // read by row
  // i32 [n], each of 0 .. n-1 once; nothing happens when the file has no such tensor.
  Status optional_order(const std::string& name, int64_t n, Tensor& to);
  // A matrix or a bias whose rows are those of several weights, one after the other.
  struct Slice {
    int64_t rows;
    Tensor* to;
  };
  Status split_matrix(const std::string& name, int64_t cols, std::span<const Slice> slices);
  Status split_vector(const std::string& name, std::span<const Slice> slices);
  // n_experts matrices: `stem`_exps.weight, or in older files `stem`.0.weight, `stem`.1.weight, ...
  // `share`: the part of them that one token reads. Tells the format they are in.
  Result<DType> expert_matrices(const std::string& stem, int64_t n_experts, int64_t rows,
                                int64_t cols, double share, Tensor& to);
  Status expert_vectors(const std::string& name, int64_t n_experts, int64_t rows, Tensor& to);
  // Numbers of our own; they must outlive the weights.
  void constant(std::span<const float> values, Tensor& to);
  // The numbers of a small tensor, now.
  Result<std::vector<float>> numbers(const std::string& name, int64_t n);

  // An error when the file has a tensor of the decoder that nothing has asked for: running without
  // it would give some other model.
  Status check_all_used() const;
  // What was entered, but for constants.
  std::vector<ListedWeight> list() const;
  Status load(std::span<const ModelRoom> rooms, const LoadProgress& progress);

 private:
  struct Item {
    std::string name;
    HostTensor host;
    WeightUse use;
    PartId part;
    Tensor* to;
    std::vector<std::span<const std::byte>> pieces;  // host.bytes, to be joined

    uint64_t bytes() const;  // in the file
  };
  Result<const gguf::TensorInfo*> find(const std::string& name, std::array<int64_t, 3> shape);
  void add(const std::string& name, const gguf::TensorInfo& info, WeightUse use,
           std::array<int64_t, 3> shape, Tensor& to);
  void count(std::span<const std::byte> bytes, double share);
  Status join(Item& item);
  Status load(Item& item, const ModelRoom& room);

  gguf::File file_;
  Placement placement_;
  ModelWeights* weights_;
  PartId part_;
  std::vector<Item> items_;
  std::unordered_set<const gguf::TensorInfo*> used_;
};

}  // namespace lm
