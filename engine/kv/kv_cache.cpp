#include "engine/kv/kv_cache.h"

#include <algorithm>
#include <limits>
#include <span>

#include "engine/core/check.h"
#include "engine/core/checked.h"
#include "engine/core/text.h"

namespace lm {
namespace {

// Each K and V tensor starts at a multiple of this, so that rows of vectors stay aligned.
constexpr uint64_t kTensorAlignment = 64;

// Bytes of one block of one layer's K (or V); nullopt when they don't fit a number.
std::optional<uint64_t> layer_block_bytes(const KvLayout& layout, const KvLayerShape& shape) {
  const std::optional<uint64_t> rows =
      checked_mul(uint64_t(shape.n_kv_heads), uint64_t(layout.block_size));
  return rows ? checked_mul(*rows, row_bytes(layout.dtype, shape.head_dim)) : std::nullopt;
}

// Of the layers of one room.
std::optional<uint64_t> room_bytes(std::span<Backend* const> rooms, const Backend* room,
                                   const KvLayout& layout, int n_blocks, int n_pages) {
  uint64_t total = 0;
  for (size_t layer = 0; layer < layout.layers.size(); ++layer) {
    if (rooms[layer] != room) continue;
    const KvLayerShape& shape = layout.layers[layer];
    std::optional<uint64_t> bytes = layer_block_bytes(layout, shape);
    if (bytes) bytes = checked_mul(*bytes, uint64_t(shape.windowed ? n_pages : n_blocks));
    if (bytes) bytes = checked_align(*bytes, kTensorAlignment);
    if (bytes) bytes = checked_mul(*bytes, 2);
    if (bytes) bytes = checked_add(*bytes, total);
    if (!bytes) return std::nullopt;
    total = *bytes;
  }
  return total;
}

}  // namespace

Status validate(const KvLayout& layout) {
  if (layout.dtype != DType::f32 && layout.dtype != DType::f16 && layout.dtype != DType::q8_0) {
    return Error{ErrorCode::bad_request, concat("expected a KV type of f32, f16 or q8_0, found ",
                                                dtype_name(layout.dtype))};
  }
  if (layout.block_size < 1 || layout.block_size > 4096) {
    return Error{ErrorCode::bad_request,
                 concat("expected a KV block of 1 to 4096 tokens, found ", layout.block_size)};
  }
  for (size_t layer = 0; layer < layout.layers.size(); ++layer) {
    const KvLayerShape& shape = layout.layers[layer];
    if (shape.n_kv_heads < 1 || shape.head_dim < 1) {
      return Error{ErrorCode::unsupported,
                   concat("expected at least one KV head of one dimension, found ",
                          shape.n_kv_heads, " of ", shape.head_dim, " in layer ", layer)};
    }
    const int elems = dtype_info(layout.dtype).block_elems;
    if (shape.head_dim % elems != 0) {
      return Error{ErrorCode::unsupported,
                   concat("a ", dtype_name(layout.dtype), " KV cache needs a head size that is a",
                          " multiple of ", elems, ", found ", shape.head_dim, " in layer ", layer,
                          ": use f16 or f32")};
    }
  }
  return ok();
}

std::optional<KvBlockBytes> kv_block_bytes(const KvLayout& layout) {
  KvBlockBytes total;
  for (const KvLayerShape& shape : layout.layers) {
    std::optional<uint64_t> bytes = layer_block_bytes(layout, shape);
    if (bytes) bytes = checked_mul(*bytes, 2);
    uint64_t& sum = shape.windowed ? total.page : total.block;
    if (bytes) bytes = checked_add(*bytes, sum);
    if (!bytes) return std::nullopt;
    sum = *bytes;
  }
  if (!checked_add(total.block, total.page)) return std::nullopt;
  return total;
}

Result<KvCache> KvCache::allocate(std::span<Backend* const> rooms, const KvLayout& layout,
                                  int n_blocks, int n_pages) {
  LM_TRY(validate(layout));
  LM_CHECK(n_blocks >= 0 && n_pages >= 0 && rooms.size() == layout.layers.size());
  KvCache cache;
  cache.layout_ = layout;
  cache.k_.resize(rooms.size());
  cache.v_.resize(rooms.size());
  for (size_t layer = 0; layer < rooms.size(); ++layer) {
    if (!cache.k_[layer]) LM_TRY(cache.allocate_room(rooms, *rooms[layer], n_blocks, n_pages));
  }
  const KvBlockBytes of_one = kv_block_bytes(layout).value_or(KvBlockBytes{});
  cache.block_bytes_ = of_one.block + of_one.page;
  cache.staging_.resize(size_t(cache.block_bytes_));
  return cache;
}

Status KvCache::allocate_room(std::span<Backend* const> rooms, Backend& room, int n_blocks,
                              int n_pages) {
  const std::optional<uint64_t> bytes = room_bytes(rooms, &room, layout_, n_blocks, n_pages);
  if (!bytes || *bytes > std::numeric_limits<size_t>::max()) {
    return Error{ErrorCode::out_of_memory, concat("a KV cache of ", n_blocks, " blocks of ",
                                                  layout_.block_size, " tokens is beyond memory")};
  }
  buffers_.push_back(LM_TRY(room.alloc(size_t(*bytes))));
  uint64_t offset = 0;
  const auto place = [&](const KvLayerShape& shape) {
    Tensor tensor;
    tensor.buffer = buffers_.back().get();
    tensor.offset = offset;
    tensor.dtype = layout_.dtype;
    tensor.shape = {shape.windowed ? n_pages : n_blocks, shape.n_kv_heads, layout_.block_size,
                    shape.head_dim};
    tensor.row_bytes = int64_t(row_bytes(layout_.dtype, shape.head_dim));
    const uint64_t used = uint64_t(tensor.rows()) * uint64_t(tensor.row_bytes);
    offset += (used + kTensorAlignment - 1) / kTensorAlignment * kTensorAlignment;
    return tensor;
  };
  for (size_t layer = 0; layer < rooms.size(); ++layer) {
    if (rooms[layer] != &room) continue;
    k_[layer] = place(layout_.layers[layer]);
    v_[layer] = place(layout_.layers[layer]);
  }
  return ok();
}

uint64_t KvCache::bytes() const {
  uint64_t total = 0;
  for (const std::unique_ptr<Buffer>& buffer : buffers_) total += buffer->bytes();
  return total;
}

// One block of a layer's K or V, as rows.
Tensor KvCache::block_of(Tensor cache, size_t layer, const BlockPlace& place) const {
  const int32_t index = layout_.layers[layer].windowed ? place.page : place.block;
  LM_CHECK(index >= 0);
  const int64_t rows = cache.shape[1] * cache.shape[2];
  return row_range(reshaped(cache, cache.rows(), cache.cols()), index * rows, rows);
}

void KvCache::copy_block(const BlockPlace& from, const BlockPlace& to) {
  download_block(from, staging_);
  write_block(to, staging_);
}

Status KvCache::read_block(const BlockPlace& place, std::span<std::byte> into) const {
  download_block(place, into);
  for (const std::unique_ptr<Buffer>& buffer : buffers_) LM_TRY(buffer->backend().synchronize());
  return ok();
}

void KvCache::download_block(const BlockPlace& place, std::span<std::byte> into) const {
  LM_CHECK(into.size() == block_bytes_);
  for (size_t layer = 0; layer < k_.size(); ++layer) {
    for (const Tensor& cache : {k_[layer], v_[layer]}) {
      const Tensor from = block_of(cache, layer, place);
      const size_t n = size_t(from.rows() * from.row_bytes);
      from.room().download(into.first(n), from);
      into = into.subspan(n);
    }
  }
}

void KvCache::send_block(const BlockPlace& place, Landing& into) const {
  LM_CHECK(buffers_.size() == 1);
  std::vector<Tensor> tensors;
  for (size_t layer = 0; layer < k_.size(); ++layer) {
    tensors.push_back(block_of(k_[layer], layer, place));
    tensors.push_back(block_of(v_[layer], layer, place));
  }
  into.send(tensors);
}

void KvCache::write_block(const BlockPlace& place, std::span<const std::byte> from) {
  LM_CHECK(from.size() == block_bytes_);
  for (size_t layer = 0; layer < k_.size(); ++layer) {
    for (const Tensor& cache : {k_[layer], v_[layer]}) {
      const Tensor to = block_of(cache, layer, place);
      const size_t n = size_t(to.rows() * to.row_bytes);
      to.room().upload(to, from.first(n));
      from = from.subspan(n);
    }
  }
}

}  // namespace lm
