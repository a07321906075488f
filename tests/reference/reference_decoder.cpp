#include "tests/reference/reference_decoder.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "quant/decode.h"
#include "tests/support/support.h"

namespace lm::test {
namespace {

constexpr double kPi = 3.14159265358979323846;

void add(Vec& a, const Vec& b) {
  for (size_t i = 0; i < b.size(); ++i) a[i] += b[i];
}

Vec affine(const Matrix& weight, const Matrix& bias, const Vec& x) {
  Vec y = weight.times(x);
  add(y, bias.w);
  return y;
}

double sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}

}  // namespace

Vec Matrix::times(const Vec& x) const {
  Vec y(static_cast<size_t>(rows), 0.0);
  for (size_t r = 0; r < y.size(); ++r) {
    for (size_t c = 0; c < x.size(); ++c) y[r] += w[r * size_t(cols) + c] * x[c];
  }
  return y;
}

Matrix Matrix::part(int64_t first, int64_t n_rows) const {
  return {n_rows, cols, Vec(w.begin() + first * cols, w.begin() + (first + n_rows) * cols)};
}

// ---- attention -------------------------------------------------------------------------------

// x / rms(x) * weight
Vec ReferenceDecoder::norm(const Vec& x, const Matrix& weight) const {
  double squares = 0;
  for (const double v : x) squares += v * v;
  const double rms = std::sqrt(squares / double(x.size()) + eps_);
  Vec y(x.size());
  for (size_t i = 0; i < x.size(); ++i) y[i] = x[i] / rms * weight.w[i];
  return y;
}

void ReferenceDecoder::norm_heads(Vec& x, const Matrix& weight) const {
  for (size_t h = 0; h < x.size(); h += size_t(head_dim_)) {
    const auto begin = x.begin() + std::ptrdiff_t(h);
    const Vec head = norm(Vec(begin, begin + head_dim_), weight);
    std::copy(head.begin(), head.end(), begin);
  }
}

// Each pair (a, b) of each head turns by position * frequency.
void ReferenceDecoder::rotate(Vec& x, const ReferenceRope& rope, int position) const {
  const size_t pairs = rope.frequency.size();
  for (size_t h = 0; h < x.size(); h += size_t(head_dim_)) {
    for (size_t i = 0; i < pairs; ++i) {
      double& a = x[h + (rope.interleaved ? 2 * i : i)];
      double& b = x[h + (rope.interleaved ? 2 * i + 1 : i + pairs)];
      const double angle = position * rope.frequency[i];
      const double c = rope.magnitude * std::cos(angle), s = rope.magnitude * std::sin(angle);
      const double turned = a * c - b * s;
      b = a * s + b * c;
      a = turned;
    }
  }
}

// All heads' softmax(q k / scale) v for the query at `position`.
Vec ReferenceDecoder::attend(const ReferenceLayer& layer, const std::vector<Vec>& q,
                             const std::vector<Vec>& k, const std::vector<Vec>& v,
                             int position) const {
  const int first = layer.window > 0 ? std::max(0, position - layer.window + 1) : 0;
  const size_t dim = size_t(head_dim_);
  Vec out(size_t(n_heads_) * dim, 0.0);
  for (size_t h = 0; h < size_t(n_heads_); ++h) {
    const size_t kv_head = h / size_t(n_heads_ / n_kv_heads_);
    Vec score;
    for (int t = first; t <= position; ++t) {
      double dot = 0;
      for (size_t i = 0; i < dim; ++i)
        dot += q[size_t(position)][h * dim + i] * k[size_t(t)][kv_head * dim + i];
      score.push_back(dot * attn_scale_);
    }
    if (layer.sinks)
      score.push_back(layer.sinks.w[h]);  // takes its share of attention and gives nothing
    const double top = *std::max_element(score.begin(), score.end());
    double sum = 0;
    for (double& s : score) sum += s = std::exp(s - top);
    for (int t = first; t <= position; ++t) {
      const double weight = score[size_t(t - first)] / sum;
      for (size_t i = 0; i < dim; ++i) out[h * dim + i] += weight * v[size_t(t)][kv_head * dim + i];
    }
  }
  return out;
}

void ReferenceDecoder::attention(const ReferenceLayer& layer, std::vector<Vec>& x) const {
  std::vector<Vec> q, k, v;
  for (int t = 0; t < int(x.size()); ++t) {
    const Vec h = norm(x[size_t(t)], layer.attn_norm);
    q.push_back(affine(layer.q, layer.q_bias, h));
    k.push_back(affine(layer.k, layer.k_bias, h));
    v.push_back(affine(layer.v, layer.v_bias, h));
    if (layer.q_norm) norm_heads(q.back(), layer.q_norm);
    if (layer.k_norm) norm_heads(k.back(), layer.k_norm);
    rotate(q.back(), layer.rope, t);
    rotate(k.back(), layer.rope, t);
  }
  for (int t = 0; t < int(x.size()); ++t) {
    Vec y = affine(layer.o, layer.o_bias, attend(layer, q, k, v, t));
    if (layer.attn_post_norm) y = norm(y, layer.attn_post_norm);
    add(x[size_t(t)], y);
  }
}

// ---- feed-forward ----------------------------------------------------------------------------

Vec ReferenceDecoder::expert(const ReferenceLayer& layer, size_t e, const Vec& h) const {
  const auto bias = [e](const std::vector<Matrix>& all) { return all.empty() ? Matrix{} : all[e]; };
  const Vec g = affine(layer.gate[e], bias(layer.gate_bias), h);
  const Vec u = affine(layer.up[e], bias(layer.up_bias), h);
  Vec y(g.size());
  for (size_t i = 0; i < g.size(); ++i) {
    if (arch_ == "gpt-oss") {
      const double gate = std::min(g[i], 7.0), up = std::clamp(u[i], -7.0, 7.0);
      y[i] = gate * sigmoid(1.702 * gate) * (up + 1);
    } else if (arch_ == "gemma3") {  // GELU by tanh, arXiv:1606.08415
      const double inner = std::sqrt(2 / kPi) * (g[i] + 0.044715 * g[i] * g[i] * g[i]);
      y[i] = 0.5 * g[i] * (1 + std::tanh(inner)) * u[i];
    } else {
      y[i] = g[i] * sigmoid(g[i]) * u[i];
    }
  }
  return affine(layer.down[e], bias(layer.down_bias), y);
}

void ReferenceDecoder::feed_forward(const ReferenceLayer& layer, std::vector<Vec>& x) const {
  for (Vec& row : x) {
    const Vec h = norm(row, layer.ffn_norm);
    if (!layer.router) {
      Vec y = expert(layer, 0, h);
      if (layer.ffn_post_norm) y = norm(y, layer.ffn_post_norm);
      add(row, y);
      continue;
    }
    // The top_k experts by logit (ties: the first), mixed by the softmax over the chosen.
    const Vec logit = affine(layer.router, layer.router_bias, h);
    std::vector<size_t> order(logit.size());
    std::iota(order.begin(), order.end(), size_t(0));
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return logit[a] > logit[b]; });
    order.resize(size_t(top_k_));
    double sum = 0;
    for (const size_t e : order) sum += std::exp(logit[e] - logit[order[0]]);
    for (const size_t e : order) {
      Vec y = expert(layer, e, h);
      for (double& v : y) v *= std::exp(logit[e] - logit[order[0]]) / sum;
      add(row, y);
    }
  }
}

std::vector<Vec> ReferenceDecoder::logits(std::span<const TokenId> tokens) const {
  std::vector<Vec> x;
  for (const TokenId token : tokens) {
    Vec row = embedding_.part(token, 1).w;
    if (arch_ == "gemma3") {
      for (double& v : row) v *= std::sqrt(double(d_model_));
    }
    x.push_back(row);
  }
  for (const ReferenceLayer& layer : layers_) {
    attention(layer, x);
    feed_forward(layer, x);
  }
  for (Vec& row : x) row = output_.times(norm(row, output_norm_));
  return x;
}

double worst_error(const std::vector<Vec>& got, const std::vector<Vec>& expected) {
  if (got.size() != expected.size()) return INFINITY;
  double worst = 0;
  for (size_t row = 0; row < expected.size(); ++row) {
    if (got[row].size() != expected[row].size()) return INFINITY;
    double difference = 0, size = 0;
    for (size_t i = 0; i < expected[row].size(); ++i) {
      const double d = std::abs(got[row][i] - expected[row][i]);
      difference = std::isnan(d) ? INFINITY : std::max(difference, d);
      size = std::max(size, std::abs(expected[row][i]));
    }
    worst = std::max(worst, size > 0 ? difference / size : difference);
  }
  return worst;
}

double worst_error(std::span<const float> got, const std::vector<Vec>& expected) {
  std::vector<Vec> rows;
  for (size_t at = 0; at < got.size() && rows.size() < expected.size();) {
    const size_t n = std::min(got.size() - at, expected[rows.size()].size());
    rows.emplace_back(got.begin() + std::ptrdiff_t(at), got.begin() + std::ptrdiff_t(at + n));
    at += n;
  }
  return worst_error(rows, expected);
}

}  // namespace lm::test
