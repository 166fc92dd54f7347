// The load of the benchmarks that run whole simulations: a device that costs nothing, and ShareGPT-like
// requests.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>

#include "core/device.h"
#include "core/random.h"
#include "core/request.h"

namespace pagelab::bench {

/// Token 1 for every row, and the time of a step that is linear in its chunks (about OPT-13B on one A100).
class LinearDevice final : public Device {
 public:
  explicit LinearDevice(std::int64_t blocks)
      : capacity_{.device_blocks = Blocks(blocks),
                  .host_blocks = Blocks(0),
                  .block_size = Tokens(16),
                  .block_bytes = Bytes(1),
                  .max_positions = Tokens(2048)} {}
  DeviceCapacity capacity() const override { return capacity_; }
  void execute(const StepBatch& batch, StepResult& result) override {
    std::fill(result.candidates.begin(), result.candidates.end(), TokenCandidate{1, -1.0f});
    result.duration = Seconds(0.0262 + 0.000419 * static_cast<double>(batch.chunks.size()));
  }

 private:
  DeviceCapacity capacity_;
};

/// Lognormal lengths with the means of ShareGPT (161 prompt, 338 output tokens), Poisson arrivals.
class ShareGptLike final : public Workload {
 public:
  ShareGptLike(std::int64_t requests, double rate) : total_(requests), rate_(rate) { advance(); }
  std::optional<Seconds> next_arrival() const override {
    return issued_ < total_ ? std::optional(next_) : std::nullopt;
  }
  Request take() override {
    Request request;
    request.id = RequestId(static_cast<std::int32_t>(issued_++));
    request.arrival = next_;
    request.prompt.assign(static_cast<std::size_t>(length(170, 1.1)), 1);
    request.max_output = Tokens(length(390, 1.0));
    request.forced_output = true;
    advance();
    return request;
  }
  void on_end(RequestId, Seconds) override {}
  std::int64_t total() const override { return total_; }

 private:
  void advance() { next_ += Seconds(draws_.exponential(rate_)); }
  std::int64_t length(double mean, double sigma) {
    const double drawn = mean * std::exp(sigma * draws_.normal() - sigma * sigma / 2);
    return std::clamp(std::llround(drawn), 4LL, 1024LL);
  }

  std::int64_t total_;
  double rate_;
  std::int64_t issued_ = 0;
  Seconds next_;
  RandomStream draws_{1, "simulation"};
};

}  // namespace pagelab::bench
