// engine/model/placement.h — in which room each part of a decoder works, where several backends
// share a model. Rooms are numbers here: a list of backends goes with them. What works together is
// one part: it goes as a whole, and the residual stream is carried from part to part.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "backends/backend.h"

namespace lm {

// A backend that does some or all of a model's work.
struct ModelRoom {
  Backend* backend = nullptr;
  bool in_place = false;  // reads matrices from the file as it needs them: slower, but no copy
};

struct PartId {
  enum class Kind : uint8_t {
    embedding,
    attention,  // of a layer, with its norms and its KV cache
    ffn,        // of a layer: dense, or the norm and the router before experts
    experts,    // of a layer; in a dense one it holds nothing
    output,     // the last norm and the matrix of the vocabulary
  };
  Kind kind = Kind::embedding;
  int layer = 0;
  bool operator==(const PartId&) const = default;
};

// The part that a tensor of a GGUF file belongs to by its name; nullopt: to none of them, as tables
// of frequencies do.
std::optional<PartId> part_of(std::string_view tensor);

class Placement {
 public:
  // Everything in room 0.
  explicit Placement(size_t n_layers) : rooms_(2 + 3 * n_layers, 0) {}
  Placement() : Placement(0) {}

  size_t n_layers() const { return (rooms_.size() - 2) / 3; }
  size_t n_parts() const { return rooms_.size(); }
  // In the order of the forward pass.
  PartId part(size_t index) const;
  size_t index(PartId part) const;

  int room(PartId part) const { return rooms_[index(part)]; }
  void put(PartId part, int room) { rooms_[index(part)] = uint8_t(room); }
  int embedding() const { return room({PartId::Kind::embedding}); }
  int attention(size_t layer) const { return room({PartId::Kind::attention, int(layer)}); }
  int ffn(size_t layer) const { return room({PartId::Kind::ffn, int(layer)}); }
  int experts(size_t layer) const { return room({PartId::Kind::experts, int(layer)}); }
  int output() const { return room({PartId::Kind::output}); }

  bool uses(int room) const;
  // What is in a room, for people: "the embedding, layers 0-3, the experts of layers 4-11".
  std::string text(int room) const;

  bool operator==(const Placement&) const = default;

 private:
  std::vector<uint8_t> rooms_;
};

}  // namespace lm
