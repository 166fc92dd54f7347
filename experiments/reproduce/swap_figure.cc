#include "experiments/reproduce/swap_figure.h"

#include <fmt/format.h>

#include "core/config.h"
#include "core/device.h"
#include "core/error.h"
#include "experiments/device_factory.h"
#include "experiments/experiment.h"
#include "experiments/reproduce/figure_runs.h"

namespace pagelab {

namespace {

/// One device of the figure, and the steps that are asked of it.
class SwapProbe {
 public:
  SwapProbe(BuiltDevice built, Tokens tokens) : device_(std::move(built.device)), tokens_(tokens) {
    const DeviceCapacity capacity = device_->capacity();
    const Blocks blocks = blocks_for(tokens, capacity.block_size);
    if (blocks > capacity.device_blocks || blocks > capacity.host_blocks) {
      throw InputError(fmt::format("{} tokens need {} blocks; there are {} on the device and {} on the host",
                                   tokens.value(), blocks.value(), capacity.device_blocks.value(),
                                   capacity.host_blocks.value()));
    }
    for (std::int32_t block = 0; block < blocks.value(); ++block) {
      table_.emplace_back(block);
      copies_.push_back({BlockId(block), BlockId(block)});
    }
    idle_ = seconds(StepBatch());
  }

  double recompute_ms() {
    StepBatch batch;
    const auto count = static_cast<std::int32_t>(tokens_.value());
    batch.chunks.push_back({.blocks = table_, .first = 0, .count = count, .row = 0});
    batch.tokens.assign(static_cast<std::size_t>(count), 0);
    batch.samples.push_back({.row = count - 1});
    batch.candidates = 1;
    batch.requests = 1;
    return milliseconds(batch);
  }
  double swap_ms(bool out, bool in) {
    StepBatch batch;
    batch.swap_out = out ? copies_ : std::vector<BlockCopy>();
    batch.swap_in = in ? copies_ : std::vector<BlockCopy>();
    return milliseconds(batch);
  }

 private:
  double milliseconds(const StepBatch& batch) { return 1e3 * (seconds(batch) - idle_); }
  double seconds(const StepBatch& batch) {
    StepResult result;
    result.candidates.resize(static_cast<std::size_t>(batch.candidates));
    device_->execute(batch, result);
    return result.duration.value();
  }

  std::unique_ptr<Device> device_;
  Tokens tokens_;
  std::vector<BlockId> table_;
  std::vector<BlockCopy> copies_;
  double idle_ = 0;  ///< seconds of a step without work
};

SwapProbe probe_of(const Figure& figure, std::int64_t block_size, const PolicyRegistry& registry,
                   std::string& note) {
  try {
    std::vector<std::string> overrides = figure.swap.source.set;
    overrides.insert(overrides.end(), figure.quick_set.begin(), figure.quick_set.end());
    overrides.push_back(fmt::format("device.block_size={}", block_size));
    const ConfigTable config = read_config(usable_experiment(figure.swap.source, note), overrides);
    const Experiment experiment = resolve_experiment(config, "fig" + figure.name, registry);
    return {make_device(experiment.model, experiment.device, experiment.seed), figure.swap.tokens};
  } catch (const InputError& error) {
    throw InputError(fmt::format("{}: block size {}: {}", figure.file.string(), block_size, error.what()));
  }
}

}  // namespace

std::vector<FigureCurve> swap_curves(const Figure& figure, const PolicyRegistry& registry,
                                     std::vector<std::string>& notes) {
  std::vector<FigureCurve> curves = figure.empty_curves();
  std::string note;
  for (const std::int64_t block_size : figure.swap.block_sizes) {
    SwapProbe probe = probe_of(figure, block_size, registry, note);
    const FigureX x = figure_x(static_cast<double>(block_size));
    const auto put = [&](std::size_t curve, double ms) { curves[curve].at(x).ours = Spread{ms, ms, ms}; };
    put(0, probe.recompute_ms());
    put(1, probe.swap_ms(false, true));
    put(2, probe.swap_ms(true, false));
    put(3, probe.swap_ms(true, true));
  }
  if (!note.empty()) {
    notes.push_back(note);
  }
  return curves;
}

void check_swap_figure(const Figure& figure, const PolicyRegistry& registry) {
  std::string note;
  for (const std::int64_t block_size : figure.swap.block_sizes) {
    probe_of(figure, block_size, registry, note);
  }
}

}  // namespace pagelab
