#include "kernels/cpu/gemm.h"

#include <algorithm>

#include "kernels/cpu/gemm_kernel.h"

namespace pagelab::kernels::cpu {
namespace {

/// Rows of x that one item of work covers at most: with a chunk of k they stay in a quarter of a 1 MiB L2.
constexpr std::int64_t kMaxBlockRows = 192;
/// Panels that share one chunk of x while it is in the cache.
constexpr std::int64_t kMaxPanelRun = 8;
/// Bytes of a panel that are used for all rows before going on: a third of a 48 KiB L1.
constexpr std::int64_t kChunkBytes = 16 << 10;
/// How far ahead of its use a lone tile fetches weights.
constexpr std::int64_t kPrefetchBytes = 16 << 10;
/// Items per thread, so that the last to finish finishes soon after the others.
constexpr std::int64_t kItemsPerThread = 6;

std::int64_t divide_up(std::int64_t value, std::int64_t unit) {
  return (value + unit - 1) / unit;
}

/// Part `index` of `total` cut into `parts` runs of nearly equal length, as [begin, end).
struct Range {
  std::int64_t begin;
  std::int64_t end;
  std::int64_t size() const { return end - begin; }
};
Range part_of(std::int64_t total, std::int64_t parts, std::int64_t index) {
  return {total * index / parts, total * (index + 1) / parts};
}

}  // namespace

/// How one product is cut up.
struct Gemm::Plan {
  Tensor x;
  const PackedMatrix& w;
  const GemmEpilogue& epilogue;
  Tensor out;
  std::int64_t groups;       ///< row groups
  std::int64_t tile_groups;  ///< row groups in the tallest tile
  std::int64_t row_blocks;
  std::int64_t panel_runs;
  std::int64_t chunk;  ///< values of k in a chunk
  const float* rows;   ///< x itself when it has one row, else packed
  std::int64_t step;   ///< floats from one k to the next

  Plan(Tensor x_in, const PackedMatrix& w_in, const GemmEpilogue& epilogue_in, Tensor out_in, int threads)
      : x(x_in), w(w_in), epilogue(epilogue_in), out(out_in) {
    groups = divide_up(x.rows, kRowGroup);
    tile_groups = max_tile_rows() / kRowGroup;
    row_blocks = divide_up(x.rows, kMaxBlockRows);
    const std::int64_t run =
        std::clamp<std::int64_t>(w.panels() * row_blocks / (threads * kItemsPerThread), 1, kMaxPanelRun);
    panel_runs = divide_up(w.panels(), run);
    const bool one_tile = groups <= tile_groups;
    chunk = one_tile ? w.cols() : std::min(w.cols(), kChunkBytes / w.step_bytes());
    step = x.rows == 1 ? 1 : kRowGroup;
    rows = x.data;
  }

  std::int64_t group_floats() const { return w.cols() * kRowGroup; }
};

struct Gemm::Item {
  Range groups;  ///< row groups
  Range panels;
  std::int64_t tiles;  ///< tiles that the row groups are cut into

  /// The partial sums of a tile of a panel: [panel][row][column], rows of whole groups.
  std::int64_t sums_at(std::int64_t panel, std::int64_t group) const {
    return ((panel - panels.begin) * groups.size() + (group - groups.begin)) * kRowGroup * kPanelWidth;
  }
};

Gemm::Gemm(ThreadPool& pool) : pool_(pool) {
  constexpr std::int64_t kSums = kMaxBlockRows * kMaxPanelRun * kPanelWidth;
  for (int worker = 0; worker < pool.threads(); ++worker) {
    sums_.emplace_back(kSums * sizeof(float));
  }
}

void Gemm::run(Tensor x, const PackedMatrix& w, const GemmEpilogue& epilogue, Tensor out) {
  if (x.rows == 0) {
    return;
  }
  Plan plan(x, w, epilogue, out, pool_.threads());
  if (x.rows > 1) {
    pack(plan);
    plan.rows = packed_x_.as<float>();
  }
  pool_.for_each(plan.row_blocks * plan.panel_runs, [&](std::int64_t index, int worker) {
    Item item;
    item.groups = part_of(plan.groups, plan.row_blocks, index / plan.panel_runs);
    item.panels = part_of(w.panels(), plan.panel_runs, index % plan.panel_runs);
    item.tiles = divide_up(item.groups.size(), plan.tile_groups);
    run_item(plan, item, sums_[worker].as<float>());
  });
}

void Gemm::pack(const Plan& plan) {
  const std::size_t bytes = static_cast<std::size_t>(plan.groups * plan.group_floats()) * sizeof(float);
  if (packed_x_.size() < bytes) {
    packed_x_ = HugeMemory(bytes);
  }
  constexpr std::int64_t kWorthwhile = 4096;  // floats per item
  const std::int64_t parts = divide_up(plan.group_floats(), kWorthwhile);
  pool_.for_each(plan.groups * parts, [&](std::int64_t index, int) {
    const std::int64_t group = index / parts;
    const Range k = part_of(plan.w.cols(), parts, index % parts);
    const std::int64_t first_row = group * kRowGroup;
    const auto rows = static_cast<std::int32_t>(std::min<std::int64_t>(kRowGroup, plan.x.rows - first_row));
    pack_rows(plan.x.row(static_cast<std::int32_t>(first_row)) + k.begin, plan.x.cols, rows, k.size(),
              packed_x_.as<float>() + group * plan.group_floats() + k.begin * kRowGroup);
  });
}

void Gemm::run_item(const Plan& plan, const Item& item, float* sums) const {
  std::int64_t k = 0;
  do {
    accumulate_chunk(plan, item, k, sums);
    k += plan.chunk;
  } while (k < plan.w.cols());
  finish(plan, item, sums);
}

void Gemm::accumulate_chunk(const Plan& plan, const Item& item, std::int64_t k, float* sums) const {
  const PackedMatrix& w = plan.w;
  GemmTile tile;
  tile.dtype = w.dtype();
  tile.x_step = plan.step;
  tile.x_group = plan.group_floats();
  tile.k = std::min(plan.chunk, w.cols() - k);
  tile.first = k == 0;
  const std::int64_t chunk_bytes = tile.k * w.step_bytes();
  for (std::int64_t panel = item.panels.begin; panel < item.panels.end; ++panel) {
    tile.weights = w.panel(panel) + k * w.step_bytes();
    const std::byte* ahead = tile.weights + std::min(chunk_bytes, kPrefetchBytes);
    if (item.tiles > 1) {  // the chunk that follows in this item's order
      ahead = panel + 1 < item.panels.end ? tile.weights + w.panel_bytes()
                                          : w.panel(item.panels.begin) + (k + tile.k) * w.step_bytes();
    }
    for (std::int64_t index = 0; index < item.tiles; ++index) {
      const Range part = part_of(item.groups.size(), item.tiles, index);
      const std::int64_t group = item.groups.begin + part.begin;
      tile.rows = static_cast<std::int32_t>(
          std::min<std::int64_t>(part.size() * kRowGroup, plan.x.rows - group * kRowGroup));
      tile.x = plan.rows + group * plan.group_floats() + k * plan.step;
      tile.sums = sums + item.sums_at(panel, group);
      const Range fetched = part_of(tile.k, item.tiles, index);
      tile.prefetch = ahead + fetched.begin * w.step_bytes();
      tile.prefetch_steps = fetched.size();
      accumulate_tile(tile);
    }
  }
}

void Gemm::finish(const Plan& plan, const Item& item, const float* sums) const {
  GemmFinish finish;
  finish.activation = plan.epilogue.activation;
  finish.accumulate = plan.epilogue.accumulate;
  finish.out_stride = plan.out.cols;
  const std::int64_t first_row = item.groups.begin * kRowGroup;
  finish.rows =
      static_cast<std::int32_t>(std::min<std::int64_t>(item.groups.end * kRowGroup, plan.x.rows) - first_row);
  for (std::int64_t panel = item.panels.begin; panel < item.panels.end; ++panel) {
    const std::int64_t col = panel * kPanelWidth;
    finish.cols = static_cast<std::int32_t>(std::min<std::int64_t>(kPanelWidth, plan.out.cols - col));
    finish.sums = sums + item.sums_at(panel, item.groups.begin);
    finish.bias = plan.epilogue.bias == nullptr ? nullptr : plan.epilogue.bias + col;
    finish.out = plan.out.row(static_cast<std::int32_t>(first_row)) + col;
    finish_tile(finish);
  }
}

}  // namespace pagelab::kernels::cpu
