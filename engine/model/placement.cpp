#include "engine/model/placement.h"

#include <algorithm>
#include <charconv>

#include "engine/core/check.h"
#include "engine/core/text.h"

namespace lm {
namespace {

using Kind = PartId::Kind;

// "blk.12.ffn_up.weight" is 12 and "ffn_up.weight".
struct LayerTensor {
  int layer;
  std::string_view name;
};

std::optional<LayerTensor> layer_tensor(std::string_view tensor) {
  constexpr std::string_view kPrefix = "blk.";
  if (!tensor.starts_with(kPrefix)) return std::nullopt;
  tensor.remove_prefix(kPrefix.size());
  LayerTensor found{};
  const char* const end = tensor.data() + tensor.size();
  const auto [rest, error] = std::from_chars(tensor.data(), end, found.layer);
  if (error != std::errc() || found.layer < 0 || rest == end || *rest != '.') return std::nullopt;
  found.name = tensor.substr(size_t(rest - tensor.data()) + 1);
  return found;
}

// ffn_up_exps.weight, or in older files ffn_up.3.weight.
bool is_of_experts(std::string_view name) {
  if (name.find("_exps.") != std::string_view::npos) return true;
  const size_t dot = name.find('.');
  return dot + 1 < name.size() && name[dot + 1] >= '0' && name[dot + 1] <= '9';
}

// "0-3, 7" of the layers that `holds` says yes to.
template <class Holds>
std::string ranges(size_t n_layers, const Holds& holds) {
  std::string text;
  for (size_t first = 0; first < n_layers; ++first) {
    if (!holds(first)) continue;
    size_t last = first;
    while (last + 1 < n_layers && holds(last + 1)) ++last;
    text += concat(text.empty() ? "" : ", ", first);
    if (last > first) text += concat("-", last);
    first = last;
  }
  return text;
}

}  // namespace

std::optional<PartId> part_of(std::string_view tensor) {
  if (tensor.starts_with("token_embd.")) return PartId{Kind::embedding};
  if (tensor.starts_with("output.") || tensor.starts_with("output_norm.")) {
    return PartId{Kind::output};
  }
  const std::optional<LayerTensor> found = layer_tensor(tensor);
  if (!found) return std::nullopt;
  const bool feeds_forward =
      found->name.starts_with("ffn_") || found->name.starts_with("post_ffw_norm.");
  if (!feeds_forward) return PartId{Kind::attention, found->layer};
  return PartId{is_of_experts(found->name) ? Kind::experts : Kind::ffn, found->layer};
}

PartId Placement::part(size_t index) const {
  if (index == 0) return {Kind::embedding};
  if (index + 1 == rooms_.size()) return {Kind::output};
  constexpr Kind kOfLayer[] = {Kind::attention, Kind::ffn, Kind::experts};
  return {kOfLayer[(index - 1) % 3], int((index - 1) / 3)};
}

size_t Placement::index(PartId part) const {
  if (part.kind == Kind::embedding) return 0;
  if (part.kind == Kind::output) return rooms_.size() - 1;
  LM_CHECK(part.layer >= 0 && size_t(part.layer) < n_layers());
  return 1 + 3 * size_t(part.layer) + size_t(part.kind) - size_t(Kind::attention);
}

bool Placement::uses(int room) const {
  return std::ranges::find(rooms_, uint8_t(room)) != rooms_.end();
}

std::string Placement::text(int room) const {
  const auto whole = [&](size_t i) {
    return attention(i) == room && ffn(i) == room && experts(i) == room;
  };
  std::vector<std::string> parts;
  const auto add = [&](std::string_view what, const auto& holds) {
    const std::string layers = ranges(n_layers(), holds);
    const bool one = layers.find_first_of(",-") == std::string::npos;
    if (!layers.empty()) parts.push_back(concat(what, one ? "layer " : "layers ", layers));
  };
  if (embedding() == room) parts.emplace_back("the embedding");
  add("", whole);
  add("the attention of ", [&](size_t i) { return !whole(i) && attention(i) == room; });
  add("the feed-forward of ",
      [&](size_t i) { return !whole(i) && ffn(i) == room && experts(i) == room; });
  add("the routers of ", [&](size_t i) { return ffn(i) == room && experts(i) != room; });
  add("the experts of ", [&](size_t i) { return ffn(i) != room && experts(i) == room; });
  if (output() == room) parts.emplace_back("the output");
  std::string text;
  for (const std::string& part : parts) text += concat(text.empty() ? "" : ", ", part);
  return text.empty() ? "nothing" : text;
}

}  // namespace lm
