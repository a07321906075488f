#include "backends/cpu/matmul.h"

#include <algorithm>
#include <atomic>

#include "backends/cpu/ops.h"
#include "backends/cpu/repack.h"
#include "engine/core/check.h"
#include "quant/decode.h"

namespace lm::cpu {
namespace {

// How a stored matrix comes to the kernels: as it is (panels, or rows where a panel is one row);
// as rows that are interleaved in cache; or as numbers, decoded in cache.
enum class Form { native, rows, decoded };
Form form_of(const Context& context, const MatrixView& weight) {
  if (!native_format(weight.dtype)) return Form::decoded;
  return weight.layout == kLayoutPanels || context.kernels.lanes == 1 ? Form::native : Form::rows;
}

// Rows are interleaved two panels at a time, as the kernels like them.
constexpr int kTilePanels = 2;
constexpr int64_t kTileBytes = 32 << 10;  // of a panel

// Few columns are bound by memory: a piece of work is so short that the threads end together. A
// thread's pieces lie one after another, so that what one asks for ahead is what the next one
// reads.
constexpr int64_t kStreamedBytes = 128 << 10;
constexpr int64_t kMostStreamedPanels = kPanelGroup * kMostColumns / kStreamedColumns;

int64_t n_panels(const Context& context, const MatrixView& weight) {
  return (weight.m + context.kernels.lanes - 1) / context.kernels.lanes;
}

// What one piece of work computes: columns [column, column + n_columns) of panels [panel, ..).
struct Piece {
  int64_t panel = 0;
  int n_panels = 0;
  int64_t column = 0;
  int n_columns = 0;
  float* acc = nullptr;  // [n_columns][n_panels · lanes]
};

// Writes the valid part of a piece's accumulators: bias, then the sum with what was there.
void store(const MatmulJob& job, const Piece& piece, int lanes) {
  const int64_t first = piece.panel * lanes;
  const int64_t width = int64_t(piece.n_panels) * lanes;
  const int64_t n = std::min(width, job.weight.m - first);
  for (int c = 0; c < piece.n_columns; ++c) {
    float* out = job.out + (piece.column + c) * job.out_stride + first;
    float* acc = piece.acc + c * width;
    if (job.bias != nullptr) {
      for (int64_t i = 0; i < n; ++i) acc[i] += job.bias[first + i];
    }
    if (job.accumulate) {
      for (int64_t i = 0; i < n; ++i) out[i] += acc[i];
    } else {
      std::copy_n(acc, n, out);
    }
  }
}

int64_t source_row(const MatmulJob& job, int64_t i) {
  return job.x_rows != nullptr ? job.x_rows[i] : i;
}

// x[c] = column c of a piece, from its number `first` on.
void find_columns(const MatmulJob& job, const Piece& piece, bool quantized, int64_t first,
                  const void** x) {
  for (int c = 0; c < piece.n_columns; ++c) {
    const int64_t row = source_row(job, piece.column + c);
    x[c] = quantized ? static_cast<const void*>(job.quantized + (row * job.weight.k + first) / 32)
                     : job.x + row * job.x_stride + first;
  }
}

void multiply_native(const Context& context, const MatmulJob& job, const Piece& piece) {
  const MatrixView& weight = job.weight;
  const void* x[kMostColumns];
  find_columns(job, piece, reads_quantized(weight), 0, x);
  const Matmul op{
      .panels = reinterpret_cast<const uint8_t*>(weight.data) + piece.panel * weight.stride,
      .panel_bytes = weight.stride,
      .n_panels = piece.n_panels,
      .k = weight.k,
      .x = x,
      .n_cols = piece.n_columns,
      .acc = piece.acc,
      .acc_stride = int64_t(piece.n_panels) * context.kernels.lanes,
      .resume = false,
  };
  context.kernels.matmul[size_t(*native_format(weight.dtype))](op);
}

// A stretch of K of the piece's panels is interleaved and multiplied, then the next: the same sums
// in the same order as from panels.
void multiply_rows(const Context& context, const MatmulJob& job, const Piece& piece,
                   float* scratch) {
  const MatrixView& weight = job.weight;
  const DTypeInfo& info = dtype_info(weight.dtype);
  const int lanes = context.kernels.lanes;
  std::byte* tile = reinterpret_cast<std::byte*>(scratch);
  const int64_t stretch = kTileBytes / (int64_t(info.block_bytes) * lanes) * info.block_elems;
  for (int64_t first = 0; first < weight.k || first == 0; first += stretch) {
    const int64_t n = std::min(stretch, weight.k - first);
    const int64_t bytes = int64_t(row_bytes(weight.dtype, n));
    for (int p = 0; p < piece.n_panels; ++p) {
      const int64_t row = (piece.panel + p) * lanes;
      interleave(weight.dtype,
                 weight.data + row * weight.stride + int64_t(row_bytes(weight.dtype, first)),
                 weight.stride, int(std::min<int64_t>(lanes, weight.m - row)), bytes, lanes,
                 tile + p * bytes * lanes);
    }
    const void* x[kMostColumns];
    find_columns(job, piece, reads_quantized(weight), first, x);
    const Matmul op{
        .panels = reinterpret_cast<const uint8_t*>(tile),
        .panel_bytes = bytes * lanes,
        .n_panels = piece.n_panels,
        .k = n,
        .x = x,
        .n_cols = piece.n_columns,
        .acc = piece.acc,
        .acc_stride = int64_t(piece.n_panels) * lanes,
        .resume = first > 0,
    };
    context.kernels.matmul[size_t(*native_format(weight.dtype))](op);
  }
}

// tile[k][lane] = columns [first, first + n) of a panel's rows, decoded.
void decode_panel(const MatrixView& weight, int64_t panel, int lanes, int64_t first, int64_t n,
                  float* rows, float* tile) {
  const int64_t skip = int64_t(row_bytes(weight.dtype, first));
  for (int r = 0; r < lanes; ++r) {
    const int64_t row = panel * lanes + r;
    if (row < weight.m) {
      decode(weight.dtype, weight.data + row * weight.stride + skip, rows, n);
    } else {
      std::fill_n(rows, n, 0.0f);
    }
    for (int64_t i = 0; i < n; ++i) tile[i * lanes + r] = rows[i];
  }
}

// A type without a kernel: decoded a tile at a time, each tile used by all columns of the piece.
void multiply_decoded(const Context& context, const MatmulJob& job, const Piece& piece,
                      float* scratch) {
  const int lanes = context.kernels.lanes;
  float* rows = scratch;
  float* tile = scratch + kDecodedColumns;
  for (int64_t first = 0; first < job.weight.k || first == 0; first += kDecodedColumns) {
    const int64_t n = std::min<int64_t>(kDecodedColumns, job.weight.k - first);
    decode_panel(job.weight, piece.panel, lanes, first, n, rows, tile);
    const void* x[kMostColumns];
    find_columns(job, piece, false, first, x);
    const Matmul op{
        .panels = reinterpret_cast<const uint8_t*>(tile),
        .panel_bytes = n * lanes * 4,
        .n_panels = 1,
        .k = n,
        .x = x,
        .n_cols = piece.n_columns,
        .acc = piece.acc,
        .acc_stride = lanes,
        .resume = first > 0,
    };
    context.kernels.matmul[size_t(WeightFormat::f32)](op);
  }
}

// All columns of panels [panel, panel + n_panels).
void run_piece(const Context& context, const MatmulJob& job, Form form, int64_t panel, int panels,
               float* scratch) {
  const int lanes = context.kernels.lanes;
  Piece piece{.panel = panel, .n_panels = panels, .acc = scratch};
  float* tile = scratch + int64_t(kMostColumns) * kPanelGroup * lanes;
  for (; piece.column < job.n; piece.column += kMostColumns) {
    piece.n_columns = int(std::min<int64_t>(kMostColumns, job.n - piece.column));
    if (form == Form::native) multiply_native(context, job, piece);
    if (form == Form::rows) multiply_rows(context, job, piece, tile);
    if (form == Form::decoded) multiply_decoded(context, job, piece, tile);
    store(job, piece, lanes);
  }
}

void run_item(const Context& context, const MatmulJob& job, int64_t item, int thread) {
  const int64_t first = item * job.panels_per_item;
  const int panels =
      int(std::min<int64_t>(job.panels_per_item, n_panels(context, job.weight) - first));
  const Form form = form_of(context, job.weight);
  const int together = form == Form::native ? panels : form == Form::rows ? kTilePanels : 1;
  for (int p = 0; p < panels; p += together) {
    run_piece(context, job, form, first + p, std::min(together, panels - p),
              context.workspace.scratch(thread));
  }
}

}  // namespace

int64_t matmul_scratch_floats(int lanes) {
  const int64_t decoded = kDecodedColumns + kDecodedColumns * lanes;
  return int64_t(kMostColumns) * kPanelGroup * lanes +
         std::max(decoded, kTilePanels * kTileBytes / int64_t(sizeof(float)));
}

MatrixView matrix_view(const Context& context, Tensor weight, int64_t index) {
  const int64_t m = weight.shape[2], k = weight.shape[3];
  LM_CHECK(index >= 0 && index < weight.shape[0] * weight.shape[1]);
  MatrixView view{
      .data = weight.data(), .dtype = weight.dtype, .layout = weight.layout, .m = m, .k = k};
  if (weight.layout == kLayoutPanels) {
    const int lanes = context.kernels.lanes;
    view.stride = int64_t(panel_bytes(weight.dtype, k, lanes));
    view.data += index * int64_t(panels_bytes(weight.dtype, m, k, lanes));
  } else {
    view.stride = weight.row_bytes;
    view.data += index * m * weight.row_bytes;
  }
  return view;
}

bool reads_quantized(const MatrixView& weight) {
  const std::optional<WeightFormat> format = native_format(weight.dtype);
  if (!format) return false;
  switch (*format) {
    case WeightFormat::f32:
    case WeightFormat::f16:
    case WeightFormat::bf16:
      return false;
    default:
      return true;
  }
}

const ActBlock* quantize_rows(const Context& context, const float* x, int64_t stride, int64_t n,
                              int64_t k) {
  Workspace& workspace = context.workspace;
  const int64_t blocks = k / 32;
  LM_CHECK(n * blocks <= workspace.activation_blocks);
  context.pool.parallel_for(n, [&](int64_t row, int) {
    context.kernels.quantize(x + row * stride, k, workspace.activations + row * blocks);
  });
  return workspace.activations;
}

namespace {

int64_t panels_of(const Context& context, const MatmulJob& job) {
  return job.n > 0 ? n_panels(context, job.weight) : 0;
}

// Cuts the jobs into pieces; returns how many. Panels are read in pairs.
int64_t make_items(const Context& context, std::span<MatmulJob> jobs) {
  int64_t total = 0;
  for (const MatmulJob& job : jobs) total += panels_of(context, job);
  // Pieces as large as leaves every thread a few of them.
  const int64_t fair = total / (int64_t(context.pool.size()) * 4);
  int64_t n_items = 0;
  for (MatmulJob& job : jobs) {
    const int64_t streamed = kStreamedBytes / std::max<int64_t>(1, job.weight.stride);
    const int64_t most = job.n > kStreamedColumns
                             ? kPanelGroup
                             : std::clamp<int64_t>(streamed, 2, kMostStreamedPanels);
    const int64_t group = std::clamp<int64_t>(fair, 1, most);
    job.first_item = n_items;
    job.panels_per_item = int(group > 1 ? group / 2 * 2 : 1);
    n_items += (panels_of(context, job) + job.panels_per_item - 1) / job.panels_per_item;
  }
  return n_items;
}

// Gives each thread a share of the pieces with as many bytes as any other's.
void make_shares(const Context& context, std::span<const MatmulJob> jobs, int64_t n_items) {
  const int64_t n_shares = context.pool.size();
  WorkShare* shares = context.workspace.shares;
  int64_t total = 0;
  for (const MatmulJob& job : jobs) total += panels_of(context, job) * job.weight.stride;
  int64_t share = 0, before = 0;  // bytes of the jobs before
  shares[0].range.first = 0;
  for (const MatmulJob& job : jobs) {
    const int64_t item_bytes = std::max<int64_t>(1, job.weight.stride * job.panels_per_item);
    const int64_t bytes = panels_of(context, job) * job.weight.stride;
    for (; share + 1 < n_shares && total * (share + 1) / n_shares < before + bytes; ++share) {
      const int64_t in_job = total * (share + 1) / n_shares - before;
      const int64_t item = job.first_item + (in_job + item_bytes / 2) / item_bytes;
      shares[share].range.last = shares[share + 1].range.first = uint32_t(std::min(item, n_items));
    }
    before += bytes;
  }
  shares[share].range.last = uint32_t(n_items);
  for (++share; share < n_shares; ++share) shares[share] = {};
}

// Takes a piece from the front or the back of a share; -1: it is empty.
int64_t take_item(WorkShare& share, bool front) {
  const std::atomic_ref<WorkRange> shared(share.range);
  WorkRange now = shared.load(std::memory_order_relaxed), left;
  do {
    if (now.first >= now.last) return -1;
    left = front ? WorkRange{now.first + 1, now.last} : WorkRange{now.first, now.last - 1};
  } while (!shared.compare_exchange_weak(now, left, std::memory_order_relaxed));
  return front ? int64_t(now.first) : int64_t(left.last);
}

}  // namespace

void run_jobs(const Context& context, std::span<MatmulJob> jobs) {
  const int64_t n_items = make_items(context, jobs), n_shares = context.pool.size();
  LM_CHECK(context.workspace.thread_floats >= matmul_scratch_floats(context.kernels.lanes));
  LM_CHECK(n_items <= int64_t{UINT32_MAX});
  make_shares(context, jobs, n_items);
  const auto run = [&](int64_t item, int thread) {
    const auto after =
        std::upper_bound(jobs.begin(), jobs.end(), item,
                         [](int64_t i, const MatmulJob& job) { return i < job.first_item; });
    const MatmulJob& job = *(after - 1);
    run_item(context, job, item - job.first_item, thread);
  };
  // A thread that is done with its share helps with the others' from their ends.
  context.pool.parallel_for(std::min(n_items, n_shares), [&](int64_t own, int thread) {
    for (int64_t i = 0; i < n_shares; ++i) {
      WorkShare& share = context.workspace.shares[(own + i) % n_shares];
      for (int64_t item; (item = take_item(share, i == 0)) >= 0;) run(item, thread);
    }
  });
}

}  // namespace lm::cpu
