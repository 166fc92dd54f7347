#include "experiments/calibrate/calibration_measure.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <tuple>

#include <fmt/format.h>

#include "models/model.h"
#include "models/model_device.h"
#include "models/page_table.h"

namespace pagelab {

namespace {

using kernels::KvShape;
using kernels::OpKind;
using kernels::Tensor;

constexpr auto op_kinds = static_cast<std::size_t>(OpKind::count_);
using OpSeconds = std::array<double, op_kinds>;

OpSeconds clock_of(const kernels::Ops& ops) {
  OpSeconds seconds{};
  for (std::size_t kind = 0; kind < op_kinds; ++kind) {
    seconds[kind] = ops.seconds_in(static_cast<OpKind>(kind));
  }
  return seconds;
}

/// A step's times over the rounds. Calls of one shape are pooled, over layers and rounds: each is short, so
/// the median stays true when another program takes the processor now and then.
class StepSamples {
 public:
  void add_step(double seconds, const OpSeconds& before, const OpSeconds& after) {
    seconds_.push_back(seconds);
    other_.push_back(seconds);
    for (std::size_t kind = 0; kind < op_kinds; ++kind) {
      by_kind_[kind].push_back(after[kind] - before[kind]);
      other_.back() -= by_kind_[kind].back();
    }
  }

  void add_calls(const std::vector<TracedCall>& calls) {
    ++traced_;
    for (const TracedCall& call : calls) {
      by_shape_[{call.kind, call.rows, call.cols, call.inner}].push_back(call.seconds);
    }
  }

  /// With `hidden_waits`, a traced call carries a wait that a whole step hides: the calls of a kind then
  /// share the time that untraced steps spend in it as they share it when traced.
  StepTimes medians(const std::vector<ChunkShape>& chunks, bool hidden_waits) const {
    StepTimes times{
        .chunks = chunks, .seconds = median(seconds_), .other_s = median(other_), .operators = {}};
    for (const auto& [shape, samples] : by_shape_) {
      const auto& [kind, rows, cols, inner] = shape;
      times.operators.push_back(
          {{kind, rows, cols, inner, median(samples)}, static_cast<int>(samples.size()) / traced_});
    }
    if (hidden_waits) {
      OpSeconds traced{};
      for (const OperatorTime& op : times.operators) {
        traced[static_cast<std::size_t>(op.call.kind)] += op.calls * op.call.seconds;
      }
      for (OperatorTime& op : times.operators) {
        const auto kind = static_cast<std::size_t>(op.call.kind);
        op.call.seconds *= traced[kind] > 0 ? median(by_kind_[kind]) / traced[kind] : 1;
      }
    }
    return times;
  }

 private:
  std::vector<double> seconds_, other_;
  std::array<std::vector<double>, op_kinds> by_kind_;
  std::map<std::tuple<OpKind, std::int64_t, std::int64_t, std::int64_t>, std::vector<double>> by_shape_;
  int traced_ = 0;  ///< steps
};

/// The median of what `call` adds to the seconds of `kind`, over the rounds after a first one.
double time_call(kernels::Ops& ops, OpKind kind, int rounds, const std::function<void(int)>& call) {
  std::vector<double> samples;
  for (int round = 0; round <= rounds; ++round) {
    const double before = ops.seconds_in(kind);
    call(round);
    ops.synchronize();
    if (round > 0) {
      samples.push_back(ops.seconds_in(kind) - before);
    }
  }
  return median(samples);
}

/// Decodes of one token each: a batch in block tables of their own.
AttentionTime time_decodes(const KvShape& kv, std::int32_t heads, std::int32_t sequences,
                           std::int32_t context, const Backend& backend, int rounds) {
  const std::unique_ptr<kernels::Ops> ops = backend.make();
  ops->allocate_kv(kv);
  fill_device_pool(*ops, kv, heads);
  const std::vector<BlockId> blocks = shuffled_blocks(kv.device_blocks);
  const StepBatch batch = batch_of(
      std::vector<ChunkShape>(static_cast<std::size_t>(sequences), {.first = context - 1, .count = 1}),
      blocks, kv.block_size, 2);
  PageTable table;
  table.build(batch, kv.block_size);
  ops->begin_step();
  Noise noise(*ops, qkv_width(kv, heads));
  const Tensor qkv = noise.draw(sequences);
  const Tensor out = ops->scratch(sequences, heads * kv.head_size);
  const auto scale = static_cast<float>(1 / std::sqrt(kv.head_size));
  // A round visits the layers one after another: each layer's KV has left the cache when its turn comes
  // again.
  const double all_layers = time_call(*ops, OpKind::attention, rounds, [&](int) {
    for (std::int32_t layer = 0; layer < kv.layers; ++layer) {
      ops->attention(layer, qkv, heads, scale, table.view(), out);
    }
  });
  const std::int64_t token_bytes = kv.block_bytes() / kv.block_size / kv.layers;
  return {.block_size = kv.block_size,
          .kv_bytes = sequences * context * token_bytes,
          .seconds = all_layers / kv.layers};
}

/// Layers, sequences and context of an attention measured alone.
struct AttentionLoad {
  std::int32_t layers = 4;
  std::int32_t sequences = 16;
  std::int32_t context = 512;
};
AttentionLoad attention_load(const MeasureOptions& options) {
  return options.quick ? AttentionLoad{.layers = 2, .sequences = 4, .context = 256} : AttentionLoad{};
}

AttentionTime time_attention(const ModelShape& shape, std::int32_t block_size, const Backend& backend,
                             const MeasureOptions& options) {
  const AttentionLoad load = attention_load(options);
  const KvShape kv{.layers = load.layers,
                   .kv_heads = shape.kv_heads,
                   .head_size = shape.head_size,
                   .block_size = block_size,
                   .dtype = options.kv_dtype,
                   .device_blocks = load.sequences * ((load.context + block_size - 1) / block_size)};
  return time_decodes(kv, shape.heads, load.sequences, load.context, backend, 2 * options.rounds + 1);
}

/// The sizes of the steps.
struct Grid {
  std::vector<std::size_t> batches;  ///< of decodes, each with
  std::int32_t batch_context;
  std::vector<std::size_t> context_batches;  ///< of decodes, each with each of
  std::vector<std::int32_t> contexts;
  std::vector<std::int32_t> prompts;  ///< tokens of a prompt, alone and behind
  std::int32_t prompt_context;
};

Grid quick_grid() {
  return {.batches = {1, 4, 16},
          .batch_context = 32,
          .context_batches = {1, 8},
          .contexts = {16, 48},
          .prompts = {8, 32},
          .prompt_context = 16};
}

/// Kernels work on rows in groups of 4 to 16, so small batches are measured one by one.
Grid full_grid() {
  return {.batches = {1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,  16,
                      17, 20, 21, 24, 25, 28, 32, 33, 40, 41, 48, 64, 80, 96, 128, 256},
          .batch_context = 128,
          .context_batches = {1, 4, 16, 64},
          .contexts = {16, 512, 1024},
          .prompts = {8, 16, 32, 64, 128, 256, 512, 1024},
          .prompt_context = 512};
}

}  // namespace

double StepTimes::seconds_in(OpKind kind) const {
  double sum = 0;
  for (const OperatorTime& op : operators) {
    sum += op.call.kind == kind ? op.calls * op.call.seconds : 0;
  }
  return sum;
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::ranges::nth_element(values, middle);
  if (values.size() % 2 == 1) {
    return *middle;
  }
  return (*middle + *std::max_element(values.begin(), middle)) / 2;
}

std::vector<std::vector<ChunkShape>> step_grid(const ModelShape& shape, const MeasureOptions& options) {
  const std::int64_t slots = options.kv_bytes / shape.kv_bytes_per_token(options.kv_dtype).value();
  std::vector<std::vector<ChunkShape>> steps;
  const auto add = [&](std::size_t prompts, ChunkShape prompt, std::size_t decodes, std::int32_t context) {
    std::vector<ChunkShape> chunks(prompts, prompt);
    chunks.resize(prompts + decodes, {.first = context - 1, .count = 1});
    std::int64_t taken = 0;
    std::int64_t rows = 0;
    for (const ChunkShape& chunk : chunks) {
      taken += static_cast<std::int64_t>(blocks_of(chunk, options.block_size)) * options.block_size;
      rows += chunk.count;
      if (chunk.first + chunk.count > shape.max_positions) {
        return;
      }
    }
    if (taken <= slots && rows <= options.most_rows) {
      steps.push_back(std::move(chunks));
    }
  };
  const Grid grid = options.quick ? quick_grid() : full_grid();
  for (const std::size_t batch : grid.batches) {
    add(0, {}, batch, grid.batch_context);
  }
  for (const std::int32_t context : grid.contexts) {
    for (const std::size_t batch : grid.context_batches) {
      add(0, {}, batch, context);
    }
  }
  for (const std::int32_t count : grid.prompts) {
    add(1, {.first = 0, .count = count}, 0, 0);
    add(1, {.first = grid.prompt_context, .count = count}, 0, 0);
  }
  add(4, {.first = 0, .count = grid.batch_context}, 0, 0);
  add(8, {.first = 0, .count = 2 * grid.batch_context}, 0, 0);
  add(1, {.first = 0, .count = grid.batch_context}, 4, 2 * grid.batch_context);
  add(1, {.first = 0, .count = grid.batch_context}, 32, 2 * grid.batch_context);
  return steps;
}

ModelTimes measure_model(const std::string& model, const Backend& backend, const MeasureOptions& options) {
  auto owned = std::make_unique<TracedOps>(backend.make());
  TracedOps& ops = *owned;
  auto weights = load_model(model, calibration_seed, ops);
  const ModelShape shape = weights->shape();
  const auto grid = step_grid(shape, options);
  const KvOptions kv{
      .block_size = options.block_size,
      .dtype = options.kv_dtype,
      .device_blocks = static_cast<std::int32_t>(
          options.kv_bytes / (shape.kv_bytes_per_token(options.kv_dtype).value() * options.block_size))};
  ModelDevice device(std::move(owned), std::move(weights), kv);
  fill_device_pool(ops, kv_shape(shape, kv), shape.heads);
  const std::vector<BlockId> blocks = shuffled_blocks(kv.device_blocks);
  std::vector<StepSamples> samples(grid.size());
  StepResult result;
  for (int round = 0; round <= options.rounds; ++round) {
    options.log(round == 0 ? fmt::format("{}: warming up with {} steps", shape.name, grid.size())
                           : fmt::format("{}: round {} of {}", shape.name, round, options.rounds));
    for (std::size_t i = 0; i < grid.size(); ++i) {
      const StepBatch batch = batch_of(grid[i], blocks, kv.block_size, shape.vocab);
      const auto run = [&] {
        const OpSeconds before = clock_of(ops);
        device.execute(batch, result);
        if (round > 0) {
          samples[i].add_step(result.duration.value(), before, clock_of(ops));
        }
      };
      if (backend.queues) {
        run();
        ops.start_trace();
        device.execute(batch, result);
      } else {
        ops.start_trace();
        run();
      }
      ops.stop_trace();
      if (round > 0) {
        samples[i].add_calls(ops.calls());
      }
    }
  }
  ModelTimes times{.shape = shape, .steps = {}};
  for (std::size_t i = 0; i < grid.size(); ++i) {
    times.steps.push_back(samples[i].medians(grid[i], backend.queues));
  }
  return times;
}

std::vector<AttentionTime> measure_block_sizes(const ModelShape& shape, const Backend& backend,
                                               const MeasureOptions& options) {
  std::vector<AttentionTime> times;
  for (const std::int32_t block_size :
       options.quick ? std::vector{1, 16, 256} : std::vector{1, 2, 4, 8, 16, 32, 64, 128, 256}) {
    options.log(fmt::format("attention with blocks of {}", block_size));
    times.push_back(time_attention(shape, block_size, backend, options));
  }
  return times;
}

std::vector<MoveTime> measure_moves(const ModelShape& shape, const Backend& backend,
                                    const MeasureOptions& options) {
  std::vector<MoveTime> times;
  for (const std::int32_t block_size : options.quick ? std::vector{4, 16} : std::vector{4, 16, 64}) {
    options.log(fmt::format("moving blocks of {}", block_size));
    KvShape kv = kv_shape(shape, {.block_size = block_size, .dtype = options.kv_dtype});
    kv.device_blocks = kv.host_blocks =
        static_cast<std::int32_t>(std::clamp<std::int64_t>(options.kv_bytes / 4 / kv.block_bytes(), 1, 1024));
    const std::unique_ptr<kernels::Ops> ops = backend.make();
    ops->allocate_kv(kv);
    fill_device_pool(*ops, kv, shape.heads);
    fill_host_pool(*ops, kv);
    // Each round moves other blocks, as far as the pool goes round, and as many as a preempted group may
    // hold.
    const std::int32_t moved = std::min(kv.device_blocks, std::max(1, 256 / block_size));
    std::vector<kernels::BlockCopy> copies(static_cast<std::size_t>(moved));
    const auto choose = [&](int round) {
      for (std::int32_t i = 0; i < moved; ++i) {
        const std::int32_t block = (round * moved + i) % kv.device_blocks;
        copies[static_cast<std::size_t>(i)] = {block, block};
      }
    };
    MoveTime time{.layers = kv.layers, .block_bytes = kv.block_bytes(), .blocks = moved};
    time.out_s = time_call(*ops, OpKind::copy, 2 * options.rounds + 1, [&](int round) {
      choose(round);
      ops->swap_out(copies);
    });
    time.in_s = time_call(*ops, OpKind::copy, 2 * options.rounds + 1, [&](int round) {
      choose(round);
      ops->swap_in(copies);
    });
    times.push_back(time);
  }
  return times;
}

double measure_smallest_product(const Backend& backend, const MeasureOptions& options) {
  constexpr std::int32_t width = 64;
  const std::unique_ptr<kernels::Ops> ops = backend.make();
  const std::vector<float> values(std::size_t{width} * width, 0.01f);
  const kernels::HostTensor weight{.data = values.data(), .rows = width, .cols = width};
  const std::unique_ptr<kernels::Weight> w = ops->matrix({&weight, 1});
  ops->begin_step();
  Noise noise(*ops, width);
  const Tensor x = noise.draw(1);
  const Tensor out = ops->scratch(1, width);
  return time_call(*ops, OpKind::linear, 20 * options.rounds + 1,
                   [&](int) { ops->linear(x, *w, nullptr, kernels::Activation::none, false, out); });
}

}  // namespace pagelab
