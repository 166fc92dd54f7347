// What tests of the checks share: a checker, and the report that a launch ends with. Owns nothing beyond a
// test.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "kernels/emu/check.h"
#include "tests/cuda/device_array.h"
#include "tests/emu/check_kernels.h"

namespace pagelab::emu {

namespace cuda = kernels::PAGELAB_CUDA_VARIANT;
using cuda::Twin;
using Floats = testing::DeviceArray<float>;
using Kind = KernelError::Kind;

inline std::vector<float> numbers(std::size_t count) {
  std::vector<float> values(count);
  std::iota(values.begin(), values.end(), 0.0f);
  return values;
}

struct Report {
  Kind kind;
  std::string text;
};

class CheckTest : public ::testing::Test {
 protected:
  ~CheckTest() override { set_schedule(0); }

  /// The report that `launch` ends with.
  static std::optional<Report> report_of(const std::function<void()>& launch) {
    try {
      launch();
      cuda::check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    } catch (const KernelError& error) {
      return Report{error.kind(), error.what()};
    }
    return std::nullopt;
  }

  static void expect_clean(const std::function<void()>& launch) {
    const std::optional<Report> report = report_of(launch);
    EXPECT_FALSE(report) << report->text;
  }

  /// `launch` ends with a report of `kind` in which the `words` occur in this order.
  static void expect_report(Kind kind, const std::vector<std::string>& words,
                            const std::function<void()>& launch) {
    const std::optional<Report> report = report_of(launch);
    ASSERT_TRUE(report) << "no report";
    EXPECT_EQ(report->kind, kind) << report->text;
    EXPECT_TRUE(report->text.starts_with(name_of(kind))) << report->text;
    EXPECT_NE(report->text.find("check_kernels.cu:"), std::string::npos) << report->text;
    std::size_t at = 0;
    for (const std::string& word : words) {
      at = report->text.find(word, at);
      ASSERT_NE(at, std::string::npos) << "'" << word << "' is missing in: " << report->text;
      at += word.size();
    }
  }

  /// The twin is clean under all schedules; the planted kernel ends with one of `kinds` under each.
  static void expect_found(const std::vector<Kind>& kinds, const std::function<void(Twin)>& launch) {
    for (std::uint64_t seed = 0; seed < 6; ++seed) {
      set_schedule(seed);
      expect_clean([&] { launch(Twin::correct); });
      const std::optional<Report> report = report_of([&] { launch(Twin::planted); });
      ASSERT_TRUE(report) << "no report under schedule " << seed;
      EXPECT_NE(std::find(kinds.begin(), kinds.end(), report->kind), kinds.end()) << report->text;
    }
    set_schedule(0);
  }

  Checker checker_;
  Floats out_{256};
};

}  // namespace pagelab::emu
