// engine/model/passage.h — a step on its way through the rooms of a model. A weight's buffer names
// the room where its work happens; what the work needs is carried there when it comes from
// elsewhere, through host memory. In a model with one room nothing is ever carried.
#pragma once
#include <cstddef>
#include <span>

#include "backends/backend.h"
#include "engine/model/model.h"

namespace lm {

// The activations of a step, f32 [n_tokens, ..] unless said otherwise.
struct Activations {
  Tensor x;               // [.., d_model]  the residual stream
  Tensor h;               // [.., d_model]  x normalised, or a branch before it is added
  Tensor reordered;       // [.., d_model or n_heads * head_dim]  columns in a matrix's order
  Tensor q, attn;         // [.., n_heads * head_dim]
  Tensor k, v;            // [.., n_kv_heads * head_dim]
  Tensor gate, up;        // [.., d_ff of the widest layer]
  Tensor router;          // [.., n_experts]
  Tensor expert_ids;      // i32 [.., top_k]
  Tensor expert_weights;  // [.., top_k]
  Tensor last;            // [n_logits, d_model]  rows whose logits are wanted
};

// What a step has in one room.
struct RoomWork {
  RoomStep step;
  Activations a;
};

class Passage {
 public:
  // staging: of the host, as large as anything that is carried; for one room, none.
  Passage(std::span<const RoomWork> rooms, std::span<std::byte> staging)
      : rooms_(rooms), staging_(staging), here_(rooms.data()) {}

  // The room of a weight.
  const RoomWork& at(const Tensor& weight) const;
  // Where x is now.
  const RoomWork& here() const { return *here_; }
  // x begins, or goes on, in the room of a weight.
  const RoomWork& begin(const Tensor& weight) { return *(here_ = &at(weight)); }
  const RoomWork& enter(const Tensor& weight);

  // Does nothing between two tensors of one room: they are the same.
  void carry(const Tensor& from, const Tensor& to) const;

 private:
  std::span<const RoomWork> rooms_;
  std::span<std::byte> staging_;
  const RoomWork* here_;
};

}  // namespace lm
