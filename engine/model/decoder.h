// engine/model/decoder.h — one layer of a decoder-only transformer, as calls on backends.
#pragma once
#include "backends/backend.h"
#include "engine/model/config.h"
#include "engine/model/model.h"
#include "engine/model/passage.h"
#include "engine/model/weights.h"

namespace lm {

// `x`, or its columns in `order` where there is one.
Tensor in_order(Tensor x, Tensor order, const Activations& a);

// x += attention(x), then x += ffn(x).
void decoder_layer(const LayerSpec& spec, const LayerWeights& weights, const KvLayer& kv,
                   Passage& passage);

}  // namespace lm
