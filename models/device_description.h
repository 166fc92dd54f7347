// DeviceDescription: what the cost model (models/cost_model.h) must know of a device: rates, fixed costs and
// measured efficiency curves per operator, in SI units. A value, read from a TOML file and written as one;
// docs/devices.md tells where the shipped ones come from. It knows no model and adds up nothing.
#pragma once

#include <filesystem>
#include <string>

#include "core/config.h"
#include "core/parameters.h"

namespace pagelab {

/// A measured curve. Between two points y is linear in log(x); outside it stays at the end's value.
struct Curve {
  RealList x;  ///< strictly growing, above 0; at least one
  RealList y;  ///< as many

  double at(double value) const;
};

/// All times in seconds, rates per second and per device.
struct DeviceDescription {
  std::string name;
  std::string source;     ///< what it was fitted on, in one line
  double memory_gib = 0;  ///< usable memory of one device

  /// A product of [m, k] and [k, n] of b-byte numbers: launch_s + (c^p + t^p)^(1/p), p = overlap, of
  /// c = 2 m n k / (peak_flops * compute(m)) and t = (n k + m k + m n) b / (bandwidth * traffic(n k b)).
  struct Gemm {
    double launch_s = 0;
    double overlap = 1;
    double peak_flops = 0;
    double bandwidth = 0;
    Curve compute;  ///< efficiency by rows m
    Curve traffic;  ///< efficiency by bytes of the weights
  } gemm;

  /// One layer's call for all prefill chunks of a step: launch_s + longest_s * tokens of the longest context
  /// + sum over chunks (sequence_s + max(flops / (peak_flops * efficiency(tokens of the chunk)), KV bytes of
  /// the context / bandwidth)).
  struct PrefillAttention {
    double launch_s = 0;
    double longest_s = 0;
    double sequence_s = 0;
    double peak_flops = 0;
    double bandwidth = 0;
    Curve efficiency;
  } prefill_attention;

  /// One layer's call for all decodes of a step: launch_s(g) + the longest of three: a thread block walking
  /// over the longest context, longest_s(g) * its tokens; starting them all, head_s * sequences * KV heads;
  /// and the traffic, KV bytes * block_factor(block size) / (bandwidth * efficiency(KV bytes)). g is the
  /// number of query heads per KV head.
  struct DecodeAttention {
    double head_s = 0;
    double bandwidth = 0;
    Curve efficiency;
    Curve block_factor;  ///< relative to 16 tokens a block
    RealList group_sizes;
    RealList launch_s;   ///< by group size
    RealList longest_s;  ///< by group size; 0 where a long context is shared out
  } decode_attention;

  /// Norms, residual adds, activations, rotary embedding, embedding, KV write, copies on write: launch_s +
  /// bytes moved / bandwidth.
  struct Elementwise {
    double launch_s = 0;
    double bandwidth = 0;
  } elementwise;

  /// launch_s + rows * row_s + rows * vocabulary * 4 / bandwidth.
  struct Sampling {
    double launch_s = 0;
    double row_s = 0;
    double bandwidth = 0;
  } sampling;

  /// latency_s + served_s + message bytes / (bandwidth * efficiency(message bytes)), by the number of
  /// devices; only the degrees listed are known.
  struct AllReduce {
    RealList gpus;
    RealList latency_s;
    RealList served_s;  ///< what one takes longer between a model's layers than in a loop of nothing else
    RealList bandwidth;
    Curve efficiency;
  } all_reduce;

  /// Per block and layer one copy of K and one of V, copy_s each, plus bytes / bandwidth.
  struct Swap {
    double copy_s = 0;
    double bandwidth = 0;
  } swap_out, swap_in;

  /// What a step costs beside the operators above.
  struct Step {
    double fixed_s = 0;
    double token_s = 0;
    bool trims_last_layer = false;  ///< behind its attention the last layer sees the sampled rows only
  } step;
};

/// Reads a description. Throws InputError naming file, line, key and what is valid.
DeviceDescription read_device_description(const std::filesystem::path& file);
/// The same from a parsed document.
DeviceDescription resolve_device_description(const ConfigTable& root);

/// The description as TOML, each key with its unit and meaning; reading it gives the same description.
std::string device_description_toml(DeviceDescription description);

}  // namespace pagelab
