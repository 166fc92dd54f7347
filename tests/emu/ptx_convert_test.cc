// Conversions (cvt) of the PTX machine against exact values in long double, which holds every f64 and 64-bit
// integer.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "kernels/emu/float16.h"
#include "tests/emu/ptx_text.h"

namespace {

using namespace pagelab::testing;
using Exact = long double;
static_assert(std::numeric_limits<Exact>::digits >= 64);

const float kInf = std::numeric_limits<float>::infinity();

template <class S>
std::vector<std::tuple<S>> float_sources() {
  std::vector<std::tuple<S>> cases;
  for (const S value : {S(0),
                        S(-0.0),
                        S(0.5),
                        S(-0.5),
                        S(1.5),
                        S(2.5),
                        S(-2.5),
                        S(0.49999997),
                        S(126.5),
                        S(127.5),
                        S(255.9),
                        S(-128.5),
                        S(32767.5),
                        S(65535.5),
                        S(2147483520.0),
                        S(2147483648.0),
                        S(-2147483648.0),
                        S(4294967040.0),
                        S(4294967296.0),
                        S(9.2233715e18),
                        S(9223372036854775808.0),
                        S(1.8446743e19),
                        S(1.8446744073709552e19),
                        S(1e30),
                        S(-1e30),
                        S(kInf),
                        S(-kInf),
                        S(0x1p-140)}) {
    cases.emplace_back(value);
  }
  return cases;
}

Exact to_integral(Exact value, const std::string& rounding) {
  return rounding == "rzi"   ? std::trunc(value)
         : rounding == "rmi" ? std::floor(value)
         : rounding == "rpi" ? std::ceil(value)
                             : std::nearbyint(value);
}

template <class D, class S>
void expect_saturating_conversion() {
  for (const std::string rounding : {"rni", "rzi", "rmi", "rpi"}) {
    const auto cases = float_sources<S>();
    const std::string code = "cvt." + rounding + "." + ptx_type<D>() + "." + ptx_type<S>() + " d, a;";
    const std::vector<D> results = evaluate<D>(code, cases);
    for (std::size_t i = 0; i < cases.size(); ++i) {
      const Exact integral = to_integral(std::get<0>(cases[i]), rounding);
      const Exact low = std::numeric_limits<D>::min();
      const Exact high = std::numeric_limits<D>::max();
      const D expected = integral <= low    ? std::numeric_limits<D>::min()
                         : integral >= high ? std::numeric_limits<D>::max()
                                            : static_cast<D>(integral);
      EXPECT_EQ(results[i], expected) << code << " of " << std::get<0>(cases[i]);
    }
  }
}

TEST(PtxConvert, FloatsBecomeTheNearestIntegerInRange) {
  expect_saturating_conversion<std::int16_t, float>();
  expect_saturating_conversion<std::int32_t, float>();
  expect_saturating_conversion<std::uint32_t, float>();
  expect_saturating_conversion<std::int64_t, float>();
  expect_saturating_conversion<std::uint64_t, float>();
  expect_saturating_conversion<std::int32_t, double>();
  expect_saturating_conversion<std::uint32_t, double>();
  expect_saturating_conversion<std::int64_t, double>();
  expect_saturating_conversion<std::uint64_t, double>();
}

TEST(PtxConvert, NanBecomesZeroOrTheHighestBitByWidth) {
  EXPECT_EQ((evaluate_one<std::int32_t>("cvt.rzi.s32.f32 d, a;", NAN)), 0);
  EXPECT_EQ((evaluate_one<std::uint32_t>("cvt.rni.u32.f32 d, a;", NAN)), 0u);
  EXPECT_EQ((evaluate_one<std::int64_t>("cvt.rzi.s64.f32 d, a;", NAN)),
            std::numeric_limits<std::int64_t>::min());
  EXPECT_EQ((evaluate_one<std::int32_t>("cvt.rzi.s32.f64 d, a;", static_cast<double>(NAN))),
            std::numeric_limits<std::int32_t>::min());
}

// The neighbour of the exact value in D that the rounding asks for, found by walking from the nearest.
template <class D>
D rounded_to(Exact value, const std::string& rounding) {
  D near = static_cast<D>(value);
  const bool up = rounding == "rp" || (rounding == "rz" && value < 0);
  const bool down = rounding == "rm" || (rounding == "rz" && value >= 0);
  if (up && near < value) {
    near = std::nextafter(near, std::numeric_limits<D>::infinity());
  } else if (down && near > value) {
    near = std::nextafter(near, -std::numeric_limits<D>::infinity());
  }
  return near;
}

template <class D, class S>
void expect_rounding_conversion(const std::vector<std::tuple<S>>& cases) {
  for (const std::string rounding : {"rn", "rz", "rm", "rp"}) {
    const std::string code = "cvt." + rounding + "." + ptx_type<D>() + "." + ptx_type<S>() + " d, a;";
    const std::vector<D> results = evaluate<D>(code, cases);
    for (std::size_t i = 0; i < cases.size(); ++i) {
      EXPECT_EQ(results[i], rounded_to<D>(std::get<0>(cases[i]), rounding))
          << code << " of " << std::get<0>(cases[i]);
    }
  }
}

TEST(PtxConvert, EveryRoundingOfIntegersAndDoubles) {
  expect_rounding_conversion<float, std::int32_t>(
      {{0}, {1}, {-1}, {16777217}, {-16777217}, {2147483647}, {std::numeric_limits<std::int32_t>::min()}});
  expect_rounding_conversion<float, std::uint32_t>({{0u}, {16777219u}, {4294967295u}, {2147483649u}});
  expect_rounding_conversion<float, std::int64_t>(
      {{9223372036854775807}, {-9223372036854775807}, {1099511693311}});
  expect_rounding_conversion<float, std::uint64_t>({{18446744073709551615u}, {9223372586610589697u}, {1u}});
  expect_rounding_conversion<double, std::int64_t>(
      {{9223372036854775807}, {-9007199254740993}, {9007199254740993}});
  expect_rounding_conversion<double, std::uint64_t>({{18446744073709551615u}, {9007199254740993u}});
  expect_rounding_conversion<float, double>({{0.1}, {-0.1}, {1.0 + 0x1p-30}, {1e-42}, {-1e-42}, {3.0}});
}

TEST(PtxConvert, FloatsRoundToIntegralsOfTheirOwnType) {
  EXPECT_EQ((evaluate_one<float>("cvt.rni.f32.f32 d, a;", 2.5f)), 2.0f);
  EXPECT_EQ((evaluate_one<float>("cvt.rzi.f32.f32 d, a;", -2.5f)), -2.0f);
  EXPECT_EQ((evaluate_one<float>("cvt.rmi.f32.f32 d, a;", -2.5f)), -3.0f);
  EXPECT_EQ((evaluate_one<double>("cvt.rpi.f64.f64 d, a;", 2.25)), 3.0);
  EXPECT_EQ((evaluate_one<float>("cvt.sat.f32.f32 d, a;", 2.5f)), 1.0f);
  EXPECT_EQ((evaluate_one<float>("cvt.sat.f32.f32 d, a;", NAN)), 0.0f);
  EXPECT_EQ((evaluate_one<double>("cvt.f64.f32 d, a;", 0x1p-149f)), 0x1p-149);
}

TEST(PtxConvert, IntegersAreCutExtendedOrSaturated) {
  EXPECT_EQ((evaluate_one<std::int64_t>("cvt.s64.s32 d, a;", std::int32_t{-5})), -5);
  EXPECT_EQ((evaluate_one<std::uint64_t>("cvt.u64.u32 d, a;", 0xfffffffbu)), 0xfffffffbu);
  EXPECT_EQ((evaluate_one<std::uint32_t>("cvt.u32.u64 d, a;", std::uint64_t{0x123456789})), 0x23456789u);
  EXPECT_EQ((evaluate_one<std::int32_t>("cvt.s32.s8 d, a;", 0x80u)), -128);
  EXPECT_EQ((evaluate_one<std::uint32_t>("cvt.u32.u8 d, a;", 0x1ffu)), 0xffu);
  EXPECT_EQ((evaluate_one<std::int32_t>("cvt.sat.s8.s32 d, a;", 300)), 127);
  EXPECT_EQ((evaluate_one<std::uint32_t>("cvt.sat.u8.s32 d, a;", -3)), 0u);
}

TEST(PtxConvert, EveryHalfAndBfloatWidensExactlyAndComesBack) {
  std::vector<std::tuple<std::uint16_t>> cases;
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    cases.emplace_back(static_cast<std::uint16_t>(bits));
  }
  const auto halves = evaluate<float>("cvt.f32.f16 d, a;", cases);
  const auto bfloats = evaluate<float>("cvt.f32.bf16 d, a;", cases);
  const auto half_trips = evaluate<std::uint16_t>("cvt.f32.f16 %f1, a; cvt.rn.f16.f32 d, %f1;", cases);
  const auto bfloat_trips = evaluate<std::uint16_t>("cvt.f32.bf16 %f1, a; cvt.rn.bf16.f32 d, %f1;", cases);
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const std::uint32_t exponent = bits >> 10 & 31;
    const float sign = (bits & 0x8000) != 0 ? -1.0f : 1.0f;
    if (exponent == 31 && (bits & 0x3ff) != 0) {
      ASSERT_TRUE(std::isnan(halves[bits])) << bits;
      ASSERT_EQ(half_trips[bits], 0x7fff);
    } else {
      const float fraction = static_cast<float>(bits & 0x3ff) / 1024.0f;
      const float expected = exponent == 31 ? sign * kInf
                             : exponent == 0
                                 ? sign * std::ldexp(fraction, -14)
                                 : sign * std::ldexp(1.0f + fraction, static_cast<int>(exponent) - 15);
      ASSERT_EQ(std::bit_cast<std::uint32_t>(halves[bits]), std::bit_cast<std::uint32_t>(expected)) << bits;
      ASSERT_EQ(half_trips[bits], bits);
    }
    ASSERT_EQ(std::bit_cast<std::uint32_t>(bfloats[bits]), bits << 16);
    ASSERT_EQ(bfloat_trips[bits], std::isnan(bfloats[bits]) ? 0x7fffu : bits);
  }
}

// Between two neighbours of the 16-bit type the even one wins a tie, and the nearer one otherwise.
TEST(PtxConvert, SixteenBitTypesRoundToNearestEven) {
  const std::tuple<float, std::uint16_t, std::uint16_t> cases[] = {
      {1.0f + 0x1p-11f, 0x3c00, 0x3f80}, {1.0f + 0x1.8p-10f, 0x3c02, 0x3f80},
      {1.0f + 0x1p-8f, 0x3c04, 0x3f80},  {1.0f + 0x1.8p-7f, 0x3c0c, 0x3f82},
      {65519.0f, 0x7bff, 0x4780},        {65520.0f, 0x7c00, 0x4780},
      {0x1p-25f, 0x0000, 0x3300},        {0x1.000002p-25f, 0x0001, 0x3300},
      {0x1.8p-24f, 0x0002, 0x33c0},      {-0x1p-14f + 0x1p-26f, 0x8400, 0xb880},
      {3.4e38f, 0x7c00, 0x7f80},         {-kInf, 0xfc00, 0xff80}};
  for (const auto& [value, half, bfloat] : cases) {
    EXPECT_EQ((evaluate_one<std::uint16_t>("cvt.rn.f16.f32 d, a;", value)), half) << value;
    EXPECT_EQ((evaluate_one<std::uint16_t>("cvt.rn.bf16.f32 d, a;", value)), bfloat) << value;
  }
  EXPECT_EQ((evaluate_one<std::uint32_t>("cvt.rn.f16x2.f32 d, a, b;", 1.0f, -2.0f)), 0x3c00c000u)
      << "the first operand goes high";
  EXPECT_EQ((evaluate_one<std::uint32_t>("cvt.rn.bf16x2.f32 d, a, b;", 1.0f, -2.0f)), 0x3f80c000u);
}

}  // namespace
