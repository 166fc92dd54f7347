#include "experiments/calibrate/calibration_gemm.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <span>
#include <utility>

namespace pagelab {

namespace {

class GemmFit {
 public:
  GemmFit(std::vector<MeasuredProduct> products, double launch_s, double element_bytes)
      : products_(std::move(products)), element_bytes_(element_bytes) {
    gemm_.launch_s = launch_s;
  }

  /// The curves for the overlap that explains the products best.
  DeviceDescription::Gemm best() {
    DeviceDescription::Gemm best;
    double least = std::numeric_limits<double>::infinity();
    for (const double overlap : {1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 10.0}) {
      fit(overlap);
      if (const double found = error(); found < least) {
        least = found;
        best = gemm_;
      }
    }
    return best;
  }

 private:
  double beyond_launch(const MeasuredProduct& p) const { return std::max(p.seconds - gemm_.launch_s, 1e-9); }
  double traffic_s(const MeasuredProduct& p) const {
    return p.numbers() * element_bytes_ / (gemm_.bandwidth * gemm_.traffic.at(p.weights() * element_bytes_));
  }
  double predict(const MeasuredProduct& p, double efficiency) const {
    const double compute = p.flops() / (gemm_.peak_flops * efficiency);
    const double traffic = traffic_s(p);
    const double longer = std::max(compute, traffic);
    const double ratio = std::min(compute, traffic) / longer;
    return gemm_.launch_s + longer * std::pow(1 + std::pow(ratio, gemm_.overlap), 1 / gemm_.overlap);
  }

  void fit(double overlap) {
    gemm_.overlap = overlap;
    gemm_.peak_flops = 0;
    for (const MeasuredProduct& p : products_) {
      gemm_.peak_flops = std::max(gemm_.peak_flops, p.flops() / beyond_launch(p));
    }
    fit_traffic();
    gemm_.compute = {};
    for (std::size_t first = 0; first < products_.size();) {
      std::size_t end = first;
      while (end < products_.size() && products_[end].rows == products_[first].rows) {
        ++end;
      }
      gemm_.compute.x.push_back(products_[first].rows);
      gemm_.compute.y.push_back(efficiency_of(std::span(products_).subspan(first, end - first)));
      first = end;
    }
  }

  /// Traffic from the products of the fewest rows, whose computing is taken to run at the peak.
  void fit_traffic() {
    std::map<double, std::pair<double, double>> sums;  // by bytes of the weights: bytes moved, seconds
    for (const MeasuredProduct& p : products_) {
      if (p.rows == products_.front().rows) {
        const double compute = p.flops() / gemm_.peak_flops;
        const double all = beyond_launch(p);
        const double rest = std::pow(all, gemm_.overlap) - std::pow(compute, gemm_.overlap);
        const double traffic = rest > 0 ? std::pow(rest, 1 / gemm_.overlap) : all;
        auto& [bytes, seconds] = sums[p.weights() * element_bytes_];
        bytes += p.calls * p.numbers() * element_bytes_;
        seconds += p.calls * traffic;
      }
    }
    gemm_.bandwidth = 0;
    for (const auto& [weights, sum] : sums) {
      gemm_.bandwidth = std::max(gemm_.bandwidth, sum.first / sum.second);
    }
    gemm_.traffic = {};
    for (const auto& [weights, sum] : sums) {
      gemm_.traffic.x.push_back(weights);
      gemm_.traffic.y.push_back(sum.first / sum.second / gemm_.bandwidth);
    }
  }

  /// The efficiency, at most 1, with which these products of equally many rows take the time together that
  /// they took, each as often as it is called in a step.
  double efficiency_of(std::span<const MeasuredProduct> products) const {
    double low = 1e-6;
    double high = 1;
    double measured = 0;
    for (const MeasuredProduct& p : products) {
      measured += p.calls * p.seconds;
    }
    for (int i = 0; i < 60; ++i) {
      const double middle = std::sqrt(low * high);
      double predicted = 0;
      for (const MeasuredProduct& p : products) {
        predicted += p.calls * predict(p, middle);
      }
      (predicted > measured ? low : high) = middle;
    }
    return high;
  }

  /// The mean relative error, each number of rows counting the same.
  double error() const {
    double sum = 0;
    for (std::size_t i = 0; i < gemm_.compute.x.size(); ++i) {
      double off = 0;
      double measured = 0;
      for (const MeasuredProduct& p : products_) {
        if (p.rows == gemm_.compute.x[i]) {
          off += p.calls * std::abs(predict(p, gemm_.compute.y[i]) - p.seconds);
          measured += p.calls * p.seconds;
        }
      }
      sum += off / measured;
    }
    return sum;
  }

  std::vector<MeasuredProduct> products_;
  double element_bytes_;
  DeviceDescription::Gemm gemm_;
};

}  // namespace

DeviceDescription::Gemm fit_gemm(std::vector<MeasuredProduct> products, double launch_s,
                                 double element_bytes) {
  return GemmFit(std::move(products), launch_s, element_bytes).best();
}

}  // namespace pagelab
