#include "models/cost_model.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/error.h"
#include "models/family.h"

namespace pagelab {

namespace {

/// (1 + ratio^p)^(1/p)
double root_of_sum(double ratio, double p) {
  if (p == 4) {  // the p of the descriptions that come with pagelab, ten times as fast
    const double square = ratio * ratio;
    return std::sqrt(std::sqrt(1 + square * square));
  }
  return std::pow(1 + std::pow(ratio, p), 1 / p);
}

}  // namespace

std::string_view name_of(StepCostKind kind) {
  static constexpr std::array<std::string_view, static_cast<std::size_t>(StepCostKind::count_)> names = {
      "swap_out",         "swap_in",    "block_copy", "elementwise", "linear", "head", "prefill_attention",
      "decode_attention", "all_reduce", "sampling",   "step",        "host",   "map"};
  return names[static_cast<std::size_t>(kind)];
}

Seconds OpCosts::total() const {
  double sum = 0;
  for (const double seconds : seconds_) {
    sum += seconds;
  }
  return Seconds(sum);
}

Seconds OpCosts::forward() const {
  const auto first = seconds_.begin() + static_cast<std::ptrdiff_t>(StepCostKind::elementwise);
  const auto end = seconds_.begin() + static_cast<std::ptrdiff_t>(StepCostKind::step);
  return Seconds(std::accumulate(first, end, 0.0));
}

OpCosts& OpCosts::operator+=(const OpCosts& other) {
  for (std::size_t i = 0; i < seconds_.size(); ++i) {
    seconds_[i] += other.seconds_[i];
  }
  return *this;
}

CostModel::CostModel(const DeviceDescription& device, const ModelShape& shape, const CostOptions& options)
    : device_(device),
      options_(options),
      shard_(shard_of(shape, options.gpus)),
      layers_(shape.layers),
      element_bytes_(static_cast<double>(kernels::size_of(options.dtype))),
      kv_token_bytes_(static_cast<double>(shard_.kv_bytes_per_layer(options.kv_dtype))),
      pair_flops_(4.0 * shard_.query_width),
      projects_(shape.embedding_size != shape.hidden),
      vocab_(shape.vocab),
      hidden_(shape.hidden) {
  block_bytes_ = kv_token_bytes_ * layers_ * static_cast<double>(options.block_size.value());
  const auto& decode = device_.decode_attention;
  decode_byte_s_ = decode.block_factor.at(static_cast<double>(options.block_size.value())) / decode.bandwidth;
  const double group_size = static_cast<double>(shape.heads) / shape.kv_heads;
  decode_launch_s_ = Curve{decode.group_sizes, decode.launch_s}.at(group_size);
  decode_longest_s_ = Curve{decode.group_sizes, decode.longest_s}.at(group_size);
  qkv_ = product(shard_.qkv_width, shape.hidden);
  output_ = product(shape.hidden, shard_.query_width);
  up_ = product((shape.family->gated ? 2 : 1) * std::int64_t{shard_.ffn}, shape.hidden);
  down_ = product(shape.hidden, shard_.ffn);
  head_ = product(shard_.vocab, shape.embedding_size);
  project_in_ = product(shape.hidden, shape.embedding_size);
  project_out_ = product(shape.embedding_size, shape.hidden);
  count_elementwise(shape);
  if (options.gpus > 1) {
    find_all_reduce();
  }
}

void CostModel::find_all_reduce() {
  const auto& known = device_.all_reduce;
  const auto found = std::ranges::find(known.gpus, static_cast<double>(options_.gpus));
  if (found == known.gpus.end()) {
    throw InputError(fmt::format(
        "device.gpus: device '{}' does not know the all-reduce of {} devices; known: {}", device_.name,
        options_.gpus, known.gpus.empty() ? "none" : fmt::format("{}", fmt::join(known.gpus, ", "))));
  }
  const auto i = static_cast<std::size_t>(found - known.gpus.begin());
  message_latency_s_ = known.latency_s[i] + known.served_s[i];
  message_byte_s_ = 1 / known.bandwidth[i];
}

void CostModel::count_elementwise(const ModelShape& shape) {
  const Family& family = *shape.family;
  const double hidden = element_bytes_ * shape.hidden;
  const double ffn = element_bytes_ * shard_.ffn;
  const double norm = 2 * hidden;      // read and written
  const double residual = 3 * hidden;  // two read, one written
  const double activation = (family.gated ? 3 : 2) * ffn;
  const double rotary = family.rotary ? 2 * element_bytes_ * (shard_.query_width + shard_.kv_width) : 0;
  const double kv_write = 2 * element_bytes_ * shard_.kv_width + kv_token_bytes_;
  const double positions = family.rotary ? 0 : residual;
  token_operators_ = layers_ * (family.rotary ? 7 : 6) + (family.rotary ? 1 : 2);
  token_bytes_ = layers_ * (2 * norm + 2 * residual + activation + rotary + kv_write) +
                 2 * element_bytes_ * shape.embedding_size + positions;
  row_operators_ = shape.pre_norm ? 1 : 0;
  row_bytes_ = shape.pre_norm ? norm : 0;
}

CostModel::Product CostModel::product(std::int64_t n, std::int64_t k) const {
  const auto numbers = static_cast<double>(n * k);
  const double weights = numbers * element_bytes_;
  return {.flops_per_row = 2 * numbers,
          .weight_bytes = weights,
          .bytes_per_row = static_cast<double>(n + k) * element_bytes_,
          .bandwidth = device_.gemm.bandwidth * device_.gemm.traffic.at(weights)};
}

double CostModel::peak_flops(std::int64_t rows) const {
  return device_.gemm.peak_flops * device_.gemm.compute.at(static_cast<double>(rows));
}

double CostModel::time(const Product& product, double rows, double peak) const {
  const double compute = product.flops_per_row * rows / peak;
  const double traffic = (product.weight_bytes + product.bytes_per_row * rows) / product.bandwidth;
  const double longer = std::max(compute, traffic);
  const double shorter = std::min(compute, traffic);
  return device_.gemm.launch_s + longer * root_of_sum(shorter / longer, device_.gemm.overlap);
}

double CostModel::product_s(std::int64_t m, std::int64_t n, std::int64_t k) const {
  return time(product(n, k), static_cast<double>(m), peak_flops(m));
}

double CostModel::prefill_chunk_s(std::int64_t first, std::int64_t count) const {
  const auto& d = device_.prefill_attention;
  const auto c = static_cast<double>(count);
  const auto f = static_cast<double>(first);
  const double compute = pair_flops_ * (c * f + c * (c + 1) / 2) / (d.peak_flops * d.efficiency.at(c));
  return d.sequence_s + std::max(compute, kv_token_bytes_ * (f + c) / d.bandwidth);
}

double CostModel::decode_s(std::int64_t sequences, std::int64_t context, std::int64_t longest) const {
  const auto& d = device_.decode_attention;
  const double bytes = kv_token_bytes_ * static_cast<double>(context);
  const double walk = decode_longest_s_ * static_cast<double>(longest);
  const double starts = d.head_s * shard_.kv_heads * static_cast<double>(sequences);
  const double traffic = bytes * decode_byte_s_ / d.efficiency.at(bytes);
  return decode_launch_s_ + std::max({walk, starts, traffic});
}

double CostModel::all_reduce_s(double message_bytes) const {
  return message_latency_s_ +
         message_bytes * message_byte_s_ / device_.all_reduce.efficiency.at(message_bytes);
}

double CostModel::added_prefill_s(std::int64_t sequences, std::int64_t count) const {
  Work work{.sequences = sequences, .tokens = sequences, .decodes = sequences};
  OpCosts without;
  if (sequences > 0) {
    forward(work, sequences, without);
  }
  ++work.sequences;
  work.tokens += count;
  work.prefill_longest = count;
  work.prefill_s = prefill_chunk_s(0, count);
  OpCosts with;
  forward(work, sequences, with);
  const auto tokens = static_cast<double>(count);
  return (with.total() - without.total()).value() + device_.step.token_s * tokens +
         options_.host.prefill_token_s * tokens;
}

double CostModel::transfer_s(const DeviceDescription::Swap& link, std::int64_t blocks) const {
  return static_cast<double>(blocks) * block_bytes_ / link.bandwidth;
}

double CostModel::swap_s(const DeviceDescription::Swap& link, std::int64_t blocks, double forward_s) const {
  const double transfer = transfer_s(link, blocks);
  const double shown = forward_s > 0 ? share_not_hidden(transfer, forward_s) : 1;
  return static_cast<double>(blocks) * 2 * layers_ * link.copy_s + shown * transfer;
}

double CostModel::swap_out_s(std::int64_t blocks, double forward_s) const {
  return swap_s(device_.swap_out, blocks, forward_s);
}

double CostModel::swap_in_s(std::int64_t blocks, double forward_s) const {
  return swap_s(device_.swap_in, blocks, forward_s);
}

inline void CostModel::add(Work& work, std::int64_t first, std::int64_t count) const {
  work.tokens += count;
  if (count == 1) {
    ++work.decodes;
    work.decode_context += first + 1;
    work.decode_longest = std::max(work.decode_longest, first + 1);
  } else {
    work.prefill_longest = std::max(work.prefill_longest, first + count);
    work.prefill_s += prefill_chunk_s(first, count);
  }
}

CostModel::Work CostModel::work_of(const StepBatch& batch) const {
  Work work{.sequences = static_cast<std::int64_t>(batch.chunks.size())};
  for (const Chunk& chunk : batch.chunks) {
    add(work, chunk.held(), chunk.count);
  }
  return work;
}

CostModel::Work CostModel::padded_work_of(const StepBatch& batch) const {
  std::int64_t longest = 0;
  std::int64_t context = 0;
  for (const Chunk& chunk : batch.chunks) {
    longest = std::max<std::int64_t>(longest, chunk.count);
    context = std::max<std::int64_t>(context, chunk.context());
  }
  Work work{.sequences = static_cast<std::int64_t>(batch.chunks.size())};
  for (std::int64_t i = 0; i < work.sequences; ++i) {
    add(work, context - longest, longest);
  }
  return work;
}

void CostModel::forward(const Work& work, std::int64_t rows, OpCosts& out) const {
  const auto tokens = static_cast<double>(work.tokens);
  const auto sampled = static_cast<double>(rows);
  const double layers = layers_;
  const double peak = peak_flops(work.tokens);
  const auto& simple = device_.elementwise;
  out[StepCostKind::elementwise] =
      token_operators_ * simple.launch_s + tokens * token_bytes_ / simple.bandwidth;
  const auto behind_attention = [&](double m, double peak_at_m) {
    return time(output_, m, peak_at_m) + time(up_, m, peak_at_m) + time(down_, m, peak_at_m);
  };
  const double whole_layers = layers - (device_.step.trims_last_layer ? 1 : 0);
  out[StepCostKind::linear] = layers * time(qkv_, tokens, peak) +
                              whole_layers * behind_attention(tokens, peak) +
                              (projects_ ? time(project_in_, tokens, peak) : 0);
  add_attention(work, 1, out);
  const bool parallel = options_.gpus > 1;
  if (parallel) {
    out[StepCostKind::all_reduce] = 2 * layers * all_reduce_s(tokens * hidden_ * element_bytes_);
  }
  if (rows == 0) {
    return;
  }
  const double head_peak = peak_flops(rows);
  out[StepCostKind::linear] += (layers - whole_layers) * behind_attention(sampled, head_peak);
  out[StepCostKind::elementwise] +=
      row_operators_ * simple.launch_s + sampled * row_bytes_ / simple.bandwidth;
  out[StepCostKind::head] =
      time(head_, sampled, head_peak) + (projects_ ? time(project_out_, sampled, head_peak) : 0);
  if (parallel) {
    out[StepCostKind::all_reduce] += all_reduce_s(sampled * vocab_ * element_bytes_);
  }
  const auto& sampling = device_.sampling;
  out[StepCostKind::sampling] =
      sampling.launch_s + sampled * (sampling.row_s + vocab_ * 4 / sampling.bandwidth);
}

void CostModel::add_attention(const Work& work, double share, OpCosts& out) const {
  if (work.decodes > 0) {
    out[StepCostKind::decode_attention] +=
        share * layers_ * decode_s(work.decodes, work.decode_context, work.decode_longest);
  }
  if (work.decodes < work.sequences) {
    const auto& prefill = device_.prefill_attention;
    out[StepCostKind::prefill_attention] +=
        share * layers_ *
        (prefill.launch_s + prefill.longest_s * static_cast<double>(work.prefill_longest) + work.prefill_s);
  }
}

void CostModel::add_weighing(const StepBatch& batch, OpCosts& out) const {
  Work work{.sequences = static_cast<std::int64_t>(batch.weighed.size())};
  for (const WeighedChunk& weighed : batch.weighed) {
    const Chunk& chunk = batch.chunks[static_cast<std::size_t>(weighed.chunk)];
    add(work, chunk.held(), chunk.count);
  }
  add_attention(work, 0.5, out);
}

double CostModel::share_not_hidden(double transfer_s, double forward_s) const {
  if (!options_.swap_overlaps || transfer_s == 0) {
    return 1;
  }
  const double both = std::max(transfer_s + forward_s / layers_, transfer_s / layers_ + forward_s);
  return (both - forward_s) / transfer_s;
}

void CostModel::swaps(const StepBatch& batch, OpCosts& out) const {
  const auto out_blocks = static_cast<std::int64_t>(batch.swap_out.size());
  const auto in_blocks = static_cast<std::int64_t>(batch.swap_in.size());
  const double out_s = transfer_s(device_.swap_out, out_blocks);
  const double in_s = transfer_s(device_.swap_in, in_blocks);
  const double share = share_not_hidden(out_s + in_s, out.total().value());
  out[StepCostKind::swap_out] = swap_out_s(out_blocks) - (1 - share) * out_s;
  out[StepCostKind::swap_in] = swap_in_s(in_blocks) - (1 - share) * in_s;
}

OpCosts CostModel::step(const StepBatch& batch) const {
  OpCosts out;
  const Work work = options_.padded ? padded_work_of(batch) : work_of(batch);
  if (work.tokens > 0) {
    forward(work, static_cast<std::int64_t>(batch.samples.size()), out);
  }
  if (!batch.weighed.empty()) {
    add_weighing(batch, out);
  }
  swaps(batch, out);
  if (!batch.copies.empty()) {
    out[StepCostKind::block_copy] =
        device_.elementwise.launch_s +
        2 * block_bytes_ * static_cast<double>(batch.copies.size()) / device_.elementwise.bandwidth;
  }
  if (!batch.moves.empty()) {
    const double token_bytes = kv_token_bytes_ * layers_;
    out[StepCostKind::block_copy] +=
        device_.elementwise.launch_s +
        2 * token_bytes * static_cast<double>(batch.moves.size()) / device_.elementwise.bandwidth;
  }
  out[StepCostKind::step] = device_.step.fixed_s + device_.step.token_s * static_cast<double>(work.tokens);
  const HostCost& host = options_.host;
  out[StepCostKind::host] = host.step_s + (options_.gpus > 1 ? host.parallel_s : 0) +
                            host.sequence_s * static_cast<double>(work.sequences) +
                            host.request_s * batch.requests + host.draw_s * (batch.requests - batch.greedy) +
                            host.fork_token_s * static_cast<double>(batch.forked.value()) +
                            host.prefill_token_s * static_cast<double>(work.tokens - work.decodes);
  const double map = options_.map_s * 2 * layers_ * static_cast<double>(batch.mapped.value());
  out[StepCostKind::map] = options_.map_overlaps ? std::max(0.0, map - out.total().value()) : map;
  return out;
}

}  // namespace pagelab
