// What rounding activations to 8 bits costs: TinyStories-656K with its matrices in each type, run
// by the integer kernels, beside the same weights spelled out as f32, which are multiplied with f32
// activations. Weights are the same numbers on both sides, so that the difference is the kernels'
// alone. The model is widened by channels of zeros until blocks of 256 fit: RMSNorm then divides by
// a root √2 smaller, so that weights ÷ √2 and eps ÷ 2 make it the same function.
#include <algorithm>
#include <cmath>
#include <string>

#include "engine/tools/convert.h"
#include "engine/tools/recipes.h"
#include "engine/tools/synthetic.h"
#include "gguf/writer.h"
#include "quant/decode.h"
#include "quant/encode.h"
#include "tests/model/run_model.h"

namespace fs = std::filesystem;

namespace lm::test {
namespace {

int64_t widened(int64_t n) {
  if (n == 64 || n == 128) return 2 * n;  // heads, and what they attend to; d_model
  return n == 384 ? 512 : n;              // d_ff; the vocabulary stays
}

struct WideTensor {
  std::string name;
  int64_t rows = 1, cols = 0;
  bool matrix = false;
  std::vector<float> values;
};

std::vector<WideTensor> widen(const gguf::File& file) {
  std::vector<WideTensor> wide;
  for (const gguf::TensorInfo& info : file.tensors()) {
    const int64_t rows = info.dims[1], cols = info.dims[0];
    std::vector<float> values(size_t(rows * cols));
    decode(info.dtype, info.bytes.data(), values.data(), rows * cols);
    WideTensor t{.name = std::string(info.name),
                 .rows = widened(rows),
                 .cols = widened(cols),
                 .matrix = info.n_dims > 1,
                 .values = {}};
    t.values.resize(size_t(t.rows * t.cols));
    for (int64_t i = 0; i < rows * cols; ++i) {
      const float x = values[size_t(i)];
      t.values[size_t(i / cols * t.cols + i % cols)] = t.matrix ? x : x / std::sqrt(2.0f);
    }
    wide.push_back(std::move(t));
  }
  return wide;
}

// The widened model with these matrices in `type`; others as f32.
std::vector<std::byte> write_wide(const gguf::File& source, const std::vector<WideTensor>& tensors,
                                  DType type, const std::vector<std::vector<std::byte>>& blocks) {
  gguf::Writer writer;
  for (const std::string_view key : source.keys()) writer.set(key, *source.value(key));
  const float eps = require_ok(source.f32("llama.attention.layer_norm_rms_epsilon"));
  writer.set_f32("llama.attention.layer_norm_rms_epsilon", eps / 2);
  for (const char* key : {"embedding_length", "feed_forward_length"}) {
    const std::string full = std::string("llama.") + key;
    writer.set_u32(full, uint32_t(widened(require_ok(source.u32(full)))));
  }
  for (const char* key : {"llama.attention.head_count", "llama.attention.head_count_kv"}) {
    writer.set_u32(key, 2 * require_ok(source.u32(key)));
  }
  for (const WideTensor& t : tensors) {
    const std::array<int64_t, 2> dims{t.cols, t.rows};
    require_ok(writer.add_tensor(t.name, t.matrix ? type : DType::f32,
                                 std::span(dims).first(t.matrix ? 2 : 1)));
  }
  return require_ok(writer.to_bytes([&](size_t i, const gguf::Writer::Sink& sink) {
    return sink(tensors[i].matrix ? std::span<const std::byte>(blocks[i])
                                  : std::as_bytes(std::span(tensors[i].values)));
  }));
}

// The matrices in `type`: encoded or, where nothing here encodes the type, random blocks as large.
std::vector<std::vector<std::byte>> stored(const std::vector<WideTensor>& tensors, DType type) {
  std::vector<std::vector<std::byte>> blocks(tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    const WideTensor& t = tensors[i];
    if (!t.matrix) continue;
    const size_t bytes = row_bytes(type, t.rows * t.cols);
    if (can_encode(type)) {
      blocks[i].resize(bytes);
      encode(type, t.values, blocks[i].data());
    } else {
      double squares = 0;
      for (const float x : t.values) squares += double(x) * x;
      blocks[i] = random_blocks(type, bytes / size_t(dtype_info(type).block_bytes),
                                std::sqrt(squares / double(t.values.size())), i + 1);
    }
  }
  return blocks;
}

// The same numbers as f32.
std::vector<std::vector<std::byte>> spelled_out(const std::vector<WideTensor>& tensors, DType type,
                                                const std::vector<std::vector<std::byte>>& blocks) {
  std::vector<std::vector<std::byte>> out(blocks.size());
  for (size_t i = 0; i < blocks.size(); ++i) {
    const int64_t n = int64_t(tensors[i].values.size());
    std::vector<float> values(tensors[i].values.size());
    if (!tensors[i].matrix) continue;
    decode(type, blocks[i].data(), values.data(), n);
    const std::span<const std::byte> bytes = std::as_bytes(std::span(values));
    out[i].assign(bytes.begin(), bytes.end());
  }
  return out;
}

// Logits after every token of every text: [tokens][n_vocab].
std::vector<std::vector<float>> run_all(const gguf::File& file,
                                        const std::vector<std::vector<TokenId>>& texts) {
  ModelRunner runner(file, {.max_tokens = 256});
  std::vector<std::vector<float>> logits;
  for (const std::vector<TokenId>& text : texts) logits.push_back(runner.run(text));
  return logits;
}

double log_sum_exp(std::span<const float> row) {
  const double max = *std::ranges::max_element(row);
  double sum = 0;
  for (const float x : row) sum += std::exp(double(x) - max);
  return max + std::log(sum);
}

// Stories that the model tells itself, each word drawn from its probabilities.
std::vector<std::vector<TokenId>> own_texts(const gguf::File& file, int n_texts, int n_tokens) {
  ModelRunner runner(file, {.max_tokens = 256});
  Random random(5);
  std::vector<std::vector<TokenId>> texts;
  for (int i = 0; i < n_texts; ++i) {
    std::vector<TokenId> text{1};
    Chunk chunk{text, 0, runner.take_blocks(n_tokens)};
    while (int(text.size()) < n_tokens) {
      const std::vector<float> row = runner.step(std::span(&chunk, 1));
      const double total = log_sum_exp(row);
      double left = random.uniform(0, 1);
      TokenId next = 0;
      while (next + 1 < TokenId(row.size())) {
        left -= std::exp(double(row[size_t(next)]) - total);
        if (left < 0) break;
        ++next;
      }
      chunk = {{next}, int(text.size()), chunk.blocks};
      text.push_back(next);
    }
    texts.push_back(text);
  }
  return texts;
}

double perplexity(const std::vector<std::vector<TokenId>>& texts,
                  const std::vector<std::vector<float>>& logits, size_t n_vocab) {
  double sum = 0;
  size_t n = 0;
  for (size_t t = 0; t < texts.size(); ++t) {
    for (size_t i = 0; i + 1 < texts[t].size(); ++i, ++n) {
      const std::span<const float> row = std::span(logits[t]).subspan(i * n_vocab, n_vocab);
      sum += log_sum_exp(row) - double(row[size_t(texts[t][i + 1])]);
    }
  }
  return std::exp(sum / double(n));
}

// max: the worst position's largest difference ÷ its largest logit. rms: over all, ÷ their rms.
struct Difference {
  double max = 0, rms = 0;
};
Difference difference(const std::vector<std::vector<float>>& got,
                      const std::vector<std::vector<float>>& expected, size_t n_vocab) {
  Difference result;
  double squares = 0, total = 0;
  for (size_t t = 0; t < got.size(); ++t) {
    for (size_t first = 0; first < got[t].size(); first += n_vocab) {
      double worst = 0, largest = 0;
      for (size_t i = first; i < first + n_vocab; ++i) {
        const double e = expected[t][i], d = std::abs(double(got[t][i]) - e);
        worst = std::max(worst, d);
        largest = std::max(largest, std::abs(e));
        squares += d * d;
        total += e * e;
      }
      result.max = std::max(result.max, worst / largest);
    }
  }
  result.rms = std::sqrt(squares / total);
  return result;
}

std::string percent(double x) {
  char text[32];
  std::snprintf(text, sizeof text, "%8.3f %%", 100 * x);
  return text;
}

TEST_CASE("accuracy: activations of 8 bits against f32, every type") {
  if (kSanitized) LM_SKIP("numbers only: left to builds without sanitizers");
  LM_FIXTURE(folder, "models/TinyStories-656K");
  const TempDir temp;
  const fs::path out = temp.path() / "out.gguf";
  require_ok(convert({.in = folder, .out = out, .type = {}, .vocab = true, .progress = {}}));
  const gguf::File original = require_ok(gguf::File::open(out));
  const std::vector<std::vector<TokenId>> texts = own_texts(original, 4, 160);
  const std::vector<WideTensor> tensors = widen(original);
  const auto expected = run_all(original, texts);
  const size_t n_vocab = expected[0].size() / texts[0].size();
  const double best = perplexity(texts, expected, n_vocab);

  std::string table = "\ntype       logits off: worst, rms    perplexity with f32, with 8 bits\n";
  for (int i = 0; i < kDTypeCount; ++i) {
    const DType type = DType(i);
    if (!find_recipe(dtype_name(type)).ok()) continue;  // holds no weights
    INFO(std::string(dtype_name(type)));
    const auto blocks = stored(tensors, type);
    const std::vector<std::byte> integers = write_wide(original, tensors, type, blocks);
    const std::vector<std::byte> numbers =
        write_wide(original, tensors, DType::f32, spelled_out(tensors, type, blocks));
    const auto got = run_all(require_ok(gguf::File::parse(integers)), texts);
    const auto exact = run_all(require_ok(gguf::File::parse(numbers)), texts);
    const Difference off = difference(got, exact, n_vocab);
    const double before = perplexity(texts, exact, n_vocab),
                 after = perplexity(texts, got, n_vocab);
    std::string name(dtype_name(type));
    name.resize(9, ' ');
    table += name + percent(off.max) + percent(off.rms);
    table += can_encode(type) ? "   " + std::to_string(before) + "  " + std::to_string(after)
                              : "   random weights";
    table += "\n";
    if (type == DType::f32) {  // the widened model is the same function
      CHECK(difference(exact, expected, n_vocab).max < 1e-4);
      CHECK(std::abs(before / best - 1) < 1e-5);
    }
    CHECK(off.rms < 0.02);
    if (can_encode(type)) CHECK(std::abs(after / before - 1) < 0.01);
  }
  MESSAGE(table);
}

}  // namespace
}  // namespace lm::test
