#include "experiments/calibrate/calibration.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <tuple>

#include "experiments/calibrate/calibration_gemm.h"
#include "experiments/calibrate/least_squares.h"
#include "models/cost_model.h"

namespace pagelab {

namespace {

using kernels::OpKind;

/// The batch as far as the cost model looks at it.
StepBatch bare_batch(const StepTimes& step) {
  StepBatch batch;
  for (const ChunkShape& chunk : step.chunks) {
    batch.chunks.push_back({.blocks = {}, .first = chunk.first, .count = chunk.count});
    batch.samples.emplace_back();
  }
  return batch;
}

double tokens_of(const StepTimes& step) {
  double sum = 0;
  for (const ChunkShape& chunk : step.chunks) {
    sum += chunk.count;
  }
  return sum;
}

bool decodes_only(const StepTimes& step) {
  return std::ranges::all_of(step.chunks, [](const ChunkShape& chunk) { return chunk.count == 1; });
}

template <class Body>
void for_each_step(const Measurements& measured, Body&& body) {
  for (const ModelTimes& model : measured.models) {
    for (const StepTimes& step : model.steps) {
      body(model.shape, step);
    }
  }
}

CostOptions options_of(const Measurements& measured) {
  return {.block_size = Tokens(measured.block_size),
          .dtype = measured.weight_dtype,
          .kv_dtype = measured.kv_dtype};
}

/// The products of all steps: the median time of each shape, and its calls in a step of every model together.
std::vector<MeasuredProduct> products_of(const Measurements& measured) {
  std::map<std::tuple<std::int64_t, std::int64_t, std::int64_t>, std::vector<double>> seconds;
  std::map<std::pair<std::int64_t, std::int64_t>, double> calls;
  for_each_step(measured, [&](const ModelShape&, const StepTimes& step) {
    for (const auto& [call, count] : step.operators) {
      if (call.kind == OpKind::linear) {
        seconds[{call.rows, call.cols, call.inner}].push_back(call.seconds);
      }
    }
  });
  for (const ModelTimes& model : measured.models) {
    for (const auto& [call, count] : model.steps.front().operators) {
      if (call.kind == OpKind::linear) {
        calls[{call.cols, call.inner}] += count;
      }
    }
  }
  std::vector<MeasuredProduct> products;
  for (const auto& [shape, samples] : seconds) {
    const auto [rows, cols, inner] = shape;
    products.push_back({static_cast<double>(rows), static_cast<double>(cols), static_cast<double>(inner),
                        median(samples), calls[{cols, inner}]});
  }
  return products;  // in the order of rows
}

/// Time per KV byte relative to that of 16 tokens a block, or of the nearest size below.
Curve block_factor(const std::vector<AttentionTime>& times) {
  const auto per_byte = [](const AttentionTime& t) { return t.seconds / static_cast<double>(t.kv_bytes); };
  double base = per_byte(times.front());
  for (const AttentionTime& t : times) {
    if (t.block_size <= 16) {
      base = per_byte(t);
    }
  }
  Curve curve;
  for (const AttentionTime& t : times) {
    curve.x.push_back(t.block_size);
    curve.y.push_back(per_byte(t) / base);
  }
  return curve;
}

/// A sum of points that lie close together on a curve's x.
struct Bin {
  double x = 0;  ///< of the first
  double work = 0;
  double seconds = 0;
};

void add_to_bins(std::vector<Bin>& bins, double x, double work, double seconds) {
  constexpr double close = 1.3;
  if (bins.empty() || x > close * bins.back().x) {
    bins.push_back({.x = x});
  }
  bins.back().work += work;
  bins.back().seconds += seconds;
}

/// The rate of each bin relative to the highest, which goes to `peak`.
Curve efficiency_curve(const std::vector<Bin>& bins, double& peak) {
  peak = 0;
  for (const Bin& bin : bins) {
    peak = std::max(peak, bin.work / bin.seconds);
  }
  Curve curve;
  for (const Bin& bin : bins) {
    curve.x.push_back(bin.x);
    curve.y.push_back(bin.work / bin.seconds / peak);
  }
  return curve;
}

/// One layer's call of attention in a step of decodes.
struct DecodeCall {
  double sequences = 0;
  double kv_heads = 0;
  double bytes = 0;
  double seconds = 0;
  bool is_short = false;  ///< contexts so short that starting a sequence costs more than reading it
};

std::vector<DecodeCall> decode_calls(const Measurements& measured) {
  constexpr std::int32_t short_context = 32;
  std::vector<DecodeCall> calls;
  for_each_step(measured, [&](const ModelShape& shape, const StepTimes& step) {
    if (!decodes_only(step)) {
      return;
    }
    std::int64_t context = 0;
    std::int32_t longest = 0;
    for (const ChunkShape& chunk : step.chunks) {
      context += chunk.first + 1;
      longest = std::max(longest, chunk.first + 1);
    }
    const std::int64_t bytes = context * shape.kv_bytes_per_token(measured.kv_dtype).value() / shape.layers;
    calls.push_back({.sequences = static_cast<double>(step.chunks.size()),
                     .kv_heads = static_cast<double>(shape.kv_heads),
                     .bytes = static_cast<double>(bytes),
                     .seconds = step.seconds_in(OpKind::attention) / shape.layers,
                     .is_short = longest <= short_context});
  });
  std::ranges::sort(calls, {}, &DecodeCall::bytes);
  return calls;
}

void fit_decode(const Measurements& measured, DeviceDescription::DecodeAttention& decode) {
  decode.block_factor = block_factor(measured.attention_by_block_size);
  const double block = decode.block_factor.at(measured.block_size);
  const std::vector<DecodeCall> calls = decode_calls(measured);
  std::vector<Observation<3>> observations;
  for (const DecodeCall& call : calls) {
    observations.push_back({{call.bytes, 1, call.sequences}, call.seconds, call.seconds});
  }
  const auto [byte_s, launch_s, sequence_s] = nonnegative_least_squares<3>(observations);
  // No context is walked over by one thread alone, so nothing depends on the longest; and a call costs the
  // same whatever the heads.
  for (const ModelTimes& model : measured.models) {
    decode.group_sizes.push_back(static_cast<double>(model.shape.heads) / model.shape.kv_heads);
  }
  std::ranges::sort(decode.group_sizes);
  decode.group_sizes.erase(std::unique(decode.group_sizes.begin(), decode.group_sizes.end()),
                           decode.group_sizes.end());
  decode.launch_s.assign(decode.group_sizes.size(), launch_s);
  decode.longest_s.assign(decode.group_sizes.size(), 0);
  std::vector<double> starts;
  std::vector<Bin> bins;
  for (const DecodeCall& call : calls) {
    const double rest = std::max(call.seconds - launch_s, 0.1 * call.seconds);
    if (call.is_short) {
      starts.push_back(rest / (call.sequences * call.kv_heads));
    } else {
      add_to_bins(bins, call.bytes, call.bytes * block, rest);
    }
  }
  decode.head_s = starts.empty() ? 0 : *std::ranges::min_element(starts);
  decode.efficiency = efficiency_curve(bins, decode.bandwidth);
}

/// One layer's call of attention in a step of one prompt.
struct PrefillCall {
  double tokens = 0;
  double flops = 0;
  double seconds = 0;
};

std::vector<PrefillCall> prefill_calls(const Measurements& measured) {
  std::vector<PrefillCall> calls;
  for_each_step(measured, [&](const ModelShape& shape, const StepTimes& step) {
    if (step.chunks.size() != 1 || decodes_only(step)) {
      return;
    }
    const double count = step.chunks.front().count;
    const double first = step.chunks.front().first;
    calls.push_back({.tokens = count,
                     .flops = 4.0 * shape.query_width() * (count * first + count * (count + 1) / 2),
                     .seconds = step.seconds_in(OpKind::attention) / shape.layers});
  });
  std::ranges::sort(calls, {}, &PrefillCall::tokens);
  return calls;
}

void fit_prefill(const Measurements& measured, const DeviceDescription::DecodeAttention& decode,
                 DeviceDescription::PrefillAttention& prefill) {
  constexpr double few_tokens = 64;  // so few that a prompt without context shows what a call costs
  const std::vector<PrefillCall> calls = prefill_calls(measured);
  std::vector<Observation<2>> observations;
  for (const PrefillCall& call : calls) {
    if (call.tokens <= few_tokens) {
      observations.push_back({{call.flops, 1}, call.seconds, call.seconds});
    }
  }
  const auto [flop_s, call_s] = nonnegative_least_squares<2>(observations);
  prefill.launch_s = std::min(call_s, decode.launch_s.front());
  prefill.sequence_s = call_s - prefill.launch_s;
  prefill.bandwidth = decode.bandwidth;
  std::vector<Bin> bins;
  for (const PrefillCall& call : calls) {
    if (bins.empty() || bins.back().x != call.tokens) {
      bins.push_back({.x = call.tokens});
    }
    bins.back().work += call.flops;
    bins.back().seconds += std::max(call.seconds - call_s, 0.1 * call.seconds);
  }
  prefill.efficiency = efficiency_curve(bins, prefill.peak_flops);
}

/// How many elementwise operators the cost model counts in a step, and the bytes that they move.
Observation<2> elementwise_amounts(const DeviceDescription& description, const ModelShape& shape,
                                   const CostOptions& options, const StepTimes& step) {
  DeviceDescription unit = description;
  const auto count = [&](double launch_s, double bandwidth) {
    unit.elementwise = {.launch_s = launch_s, .bandwidth = bandwidth};
    return CostModel(unit, shape, options).step(bare_batch(step))[StepCostKind::elementwise];
  };
  return {{count(0, 1), count(1, std::numeric_limits<double>::max())}};
}

double bandwidth_of(double seconds_per_byte, double fallback) {
  return seconds_per_byte > 0 ? 1 / seconds_per_byte : fallback;
}

/// A bandwidth of which nothing can be seen in the times.
constexpr double unnoticed_bandwidth = 1e15;

void fit_elementwise(const Measurements& measured, DeviceDescription& description) {
  std::vector<Observation<2>> observations;
  for_each_step(measured, [&](const ModelShape& shape, const StepTimes& step) {
    Observation<2> o = elementwise_amounts(description, shape, options_of(measured), step);
    for (const OpKind kind :
         {OpKind::norm, OpKind::rotary, OpKind::activation, OpKind::embedding, OpKind::kv_write}) {
      o.value += step.seconds_in(kind);
    }
    o.scale = o.value;
    observations.push_back(o);
  });
  const auto [byte_s, launch_s] = nonnegative_least_squares<2>(observations);
  description.elementwise = {.launch_s = launch_s, .bandwidth = bandwidth_of(byte_s, unnoticed_bandwidth)};
}

void fit_sampling(const Measurements& measured, DeviceDescription::Sampling& sampling) {
  std::vector<Observation<3>> observations;
  for_each_step(measured, [&](const ModelShape& shape, const StepTimes& step) {
    const auto rows = static_cast<double>(step.chunks.size());
    const double seconds = step.seconds_in(OpKind::sampling);
    observations.push_back({{rows * shape.vocab * 4, 1, rows}, seconds, seconds});
  });
  const auto [byte_s, launch_s, row_s] = nonnegative_least_squares<3>(observations);
  sampling = {.launch_s = launch_s, .row_s = row_s, .bandwidth = bandwidth_of(byte_s, unnoticed_bandwidth)};
}

DeviceDescription::Swap fit_swap(const std::vector<MoveTime>& moves, double MoveTime::*seconds) {
  std::vector<Observation<2>> observations;
  for (const MoveTime& move : moves) {
    const auto blocks = static_cast<double>(move.blocks);
    observations.push_back({{blocks * static_cast<double>(move.block_bytes), blocks * 2 * move.layers},
                            move.*seconds,
                            move.*seconds});
  }
  const auto [byte_s, copy_s] = nonnegative_least_squares<2>(observations);
  return {.copy_s = copy_s, .bandwidth = bandwidth_of(byte_s, unnoticed_bandwidth)};
}

void fit_step(const Measurements& measured, DeviceDescription::Step& rest) {
  std::vector<Observation<2>> observations;
  for_each_step(measured, [&](const ModelShape&, const StepTimes& step) {
    observations.push_back({{1, tokens_of(step)}, step.other_s, step.seconds});
  });
  const auto [fixed_s, token_s] = nonnegative_least_squares<2>(observations);
  // The forward passes of models/ do: see Opt::run.
  rest = {.fixed_s = fixed_s, .token_s = token_s, .trims_last_layer = true};
}

}  // namespace

DeviceDescription describe(const Measurements& measured, const DeviceIdentity& identity) {
  DeviceDescription description;
  description.name = identity.name;
  description.source = identity.source;
  description.memory_gib = identity.memory_gib;
  description.gemm = fit_gemm(products_of(measured), measured.smallest_product_s,
                              static_cast<double>(size_of(measured.weight_dtype)));
  fit_decode(measured, description.decode_attention);
  fit_prefill(measured, description.decode_attention, description.prefill_attention);
  fit_elementwise(measured, description);
  fit_sampling(measured, description.sampling);
  description.swap_out = fit_swap(measured.moves, &MoveTime::out_s);
  description.swap_in = fit_swap(measured.moves, &MoveTime::in_s);
  fit_step(measured, description.step);
  return description;
}

std::vector<StepError> step_errors(const Measurements& measured, const DeviceDescription& description) {
  std::vector<StepError> errors;
  for (const ModelTimes& model : measured.models) {
    const CostModel cost(description, model.shape, options_of(measured));
    for (const StepTimes& step : model.steps) {
      errors.push_back({model.shape.name, step, cost.step(bare_batch(step)).total().value()});
    }
  }
  return errors;
}

}  // namespace pagelab
