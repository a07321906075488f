// tests/reference/tiny_model.h — seeded random models of every family as complete GGUF files:
// hyperparameters, weights and a SentencePiece vocabulary that can spell every text, so that the
// whole program can run them. Sizes are odd on purpose; widened() makes them fit quantized blocks.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/writer.h"
#include "quant/dtype.h"

namespace lm::test {

struct TinyModel {
  std::string name;          // of the variant, for messages
  std::string architecture;  // general.architecture
  uint64_t seed = 1;
  DType dtype = DType::f32;  // of matrices; norms and biases are f32
  bool mxfp4_experts = false;
  int n_layers = 2, d_model = 20, n_heads = 4, n_kv_heads = 2, head_dim = 6, d_ff = 28;
  int n_experts = 0, top_k = 0;
  int n_dense = 0;  // first layers without experts
  int n_ctx = 1024;
  int window = 0;  // 0: none
  bool tied = false, biases = false;
  bool experts_apart = false;  // one tensor for each expert, as older files have it
  int rope_dims = 0;           // 0: all of the head
  std::string rope_scaling{};  // "", linear, llama3, yarn, longrope
  float rope_factor = 1;
  int n_ctx_original = 0;
};

// At least one variant of each family, then what families can differ in.
std::vector<TinyModel> tiny_models();
// The first variant of an architecture.
TinyModel tiny_model(std::string_view architecture);
// The same model, every matrix a whole number of 256-blocks wide.
TinyModel widened(TinyModel model, DType dtype);

struct TinyFile {
  gguf::Writer writer;
  std::vector<std::vector<std::byte>> data;  // of the tensors, in declared order

  std::vector<std::byte> bytes() const;
  Status save(const std::filesystem::path& path) const;
};
TinyFile write_tiny_model(const TinyModel& model);

}  // namespace lm::test
