// Arithmetic, logic and comparison of the PTX machine against the same computed on the host.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "tests/emu/ptx_text.h"

namespace {

using namespace pagelab::testing;

template <class T>
std::vector<std::tuple<T, T, T>> integer_cases() {
  const T low = std::numeric_limits<T>::min();
  const T high = std::numeric_limits<T>::max();
  const T values[] = {0,
                      1,
                      2,
                      3,
                      7,
                      31,
                      33,
                      100,
                      low,
                      static_cast<T>(low + 1),
                      high,
                      static_cast<T>(high - 1),
                      static_cast<T>(-1)};
  std::vector<std::tuple<T, T, T>> cases;
  for (const T a : values) {
    for (const T b : values) {
      cases.emplace_back(a, b, values[cases.size() % std::size(values)]);
    }
  }
  return cases;
}

// Compares with `expected(a, b, c)`, computed in 128 bits and cut to the type.
template <class T, class D, class Expected>
void expect_integers(const std::string& code, Expected expected) {
  const auto cases = integer_cases<T>();
  const std::vector<D> results = evaluate<D>(code, cases);
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const auto [a, b, c] = cases[i];
    EXPECT_EQ(results[i], static_cast<D>(expected(static_cast<__int128>(a), static_cast<__int128>(b),
                                                  static_cast<__int128>(c))))
        << code << " of " << +a << ", " << +b << ", " << +c;
  }
}

template <class T>
class PtxInteger : public ::testing::Test {};
using Integers =
    ::testing::Types<std::uint16_t, std::int16_t, std::uint32_t, std::int32_t, std::uint64_t, std::int64_t>;
TYPED_TEST_SUITE(PtxInteger, Integers);

TYPED_TEST(PtxInteger, ArithmeticWrapsAsTheHostsDoes) {
  using T = TypeParam;
  const std::string type = ptx_type<T>();
  expect_integers<T, T>("add." + type + " d, a, b;", [](auto a, auto b, auto) { return a + b; });
  expect_integers<T, T>("sub." + type + " d, a, b;", [](auto a, auto b, auto) { return a - b; });
  const auto fused = [](auto a, auto b, auto c) {  // without a sign, so that it wraps
    using Wide = unsigned __int128;
    return static_cast<__int128>(static_cast<Wide>(a) * static_cast<Wide>(b) + static_cast<Wide>(c));
  };
  expect_integers<T, T>("mul.lo." + type + " d, a, b;", [&](auto a, auto b, auto) { return fused(a, b, 0); });
  expect_integers<T, T>("mad.lo." + type + " d, a, b, c;", fused);
  expect_integers<T, T>("min." + type + " d, a, b;", [](auto a, auto b, auto) { return std::min(a, b); });
  expect_integers<T, T>("max." + type + " d, a, b;", [](auto a, auto b, auto) { return std::max(a, b); });
  // Divided by b or 1, so that nothing is divided by zero.
  const std::string nonzero = "setp.eq." + type + " p, b, 0; selp." + "b" + type.substr(1) + " b, 1, b, p;";
  expect_integers<T, T>(nonzero + "div." + type + " d, a, b;",
                        [](auto a, auto b, auto) { return a / (b == 0 ? 1 : b); });
  expect_integers<T, T>(nonzero + "rem." + type + " d, a, b;",
                        [](auto a, auto b, auto) { return a % (b == 0 ? 1 : b); });
}

TYPED_TEST(PtxInteger, HighProductsKeepTheirSign) {
  using T = TypeParam;
  const std::string type = ptx_type<T>();
  constexpr int kBits = sizeof(T) * 8;
  const auto high = [](auto a, auto b, auto) {
    return std::is_signed_v<T>
               ? a * b >> kBits
               : static_cast<__int128>(
                     static_cast<unsigned __int128>(a) * static_cast<unsigned __int128>(b) >> kBits);
  };
  expect_integers<T, T>("mul.hi." + type + " d, a, b;", high);
  expect_integers<T, T>("mad.hi." + type + " d, a, b, c;",
                        [&](auto a, auto b, auto c) { return high(a, b, c) + c; });
}

TYPED_TEST(PtxInteger, ShiftsBeyondTheWidthGiveZeroOrTheSign) {
  using T = TypeParam;
  constexpr int kBits = sizeof(T) * 8;
  std::vector<std::tuple<T, std::uint32_t>> cases;
  for (const auto& [a, b, c] : integer_cases<T>()) {
    for (const std::uint32_t amount : {0u, 1u, 15u, 16u, 31u, 32u, 63u, 64u, 65u, 0xffffffffu}) {
      cases.emplace_back(a, amount);
    }
  }
  const std::string type = ptx_type<T>();
  const auto left = evaluate<T>("shl.b" + type.substr(1) + " d, a, b;", cases);
  const auto right = evaluate<T>("shr." + type + " d, a, b;", cases);
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const auto [a, amount] = cases[i];
    const bool all = amount >= kBits;
    ASSERT_EQ(left[i], all ? T{0} : static_cast<T>(a << amount)) << +a << " << " << amount;
    ASSERT_EQ(right[i], all ? static_cast<T>(a < 0 ? -1 : 0) : static_cast<T>(a >> amount))
        << +a << " >> " << amount;
  }
}

TYPED_TEST(PtxInteger, ComparesBySign) {
  using T = TypeParam;
  const std::string type = ptx_type<T>();
  const auto compare = [&](const std::string& how, auto expected) {
    expect_integers<T, std::uint32_t>("setp." + how + "." + type + " p, a, b; selp.u32 d, 1, 0, p;",
                                      expected);
  };
  compare("eq", [](auto a, auto b, auto) { return a == b; });
  compare("ne", [](auto a, auto b, auto) { return a != b; });
  compare("lt", [](auto a, auto b, auto) { return a < b; });
  compare("le", [](auto a, auto b, auto) { return a <= b; });
  compare("gt", [](auto a, auto b, auto) { return a > b; });
  compare("ge", [](auto a, auto b, auto) { return a >= b; });
}

TEST(PtxInteger, WideProductsHaveTwiceTheBits) {
  expect_integers<std::int32_t, std::int64_t>("mul.wide.s32 d, a, b;",
                                              [](auto a, auto b, auto) { return a * b; });
  expect_integers<std::uint32_t, std::uint64_t>("mul.wide.u32 d, a, b;",
                                                [](auto a, auto b, auto) { return a * b; });
  expect_integers<std::int16_t, std::int32_t>("mul.wide.s16 d, a, b;",
                                              [](auto a, auto b, auto) { return a * b; });
  expect_integers<std::uint16_t, std::uint32_t>("cvt.u32.u16 %r2, c; mad.wide.u16 d, a, b, %r2;",
                                                [](auto a, auto b, auto c) { return a * b + c; });
}

TEST(PtxInteger, CarriesRunThroughChainsOfWords) {
  const auto cases = integer_cases<std::uint64_t>();
  const std::string split = "mov.b64 {%r2, %r3}, a; mov.b64 {%r4, %r5}, b;";
  const auto sums = evaluate<std::uint64_t>(
      split + "add.cc.u32 %r6, %r2, %r4; addc.u32 %r7, %r3, %r5; mov.b64 d, {%r6, %r7};", cases);
  const auto differences = evaluate<std::uint64_t>(
      split + "sub.cc.u32 %r6, %r2, %r4; subc.u32 %r7, %r3, %r5; mov.b64 d, {%r6, %r7};", cases);
  const auto products = evaluate<std::uint64_t>(
      split +
          "mul.lo.u32 %r6, %r2, %r4; mul.hi.u32 %r7, %r2, %r4; mad.lo.cc.u32 %r8, %r2, %r5, %r7;"
          "mad.lo.u32 %r8, %r3, %r4, %r8; mov.b64 d, {%r6, %r8};",
      cases);
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const auto [a, b, c] = cases[i];
    EXPECT_EQ(sums[i], a + b);
    EXPECT_EQ(differences[i], a - b);
    EXPECT_EQ(products[i], a * b);
  }
}

TEST(PtxLogic, EveryTableOfThreeInputsIsFollowed) {
  const std::vector<std::tuple<std::uint32_t, std::uint32_t, std::uint32_t>> cases = {
      {0xf0f0f0f0, 0xcccccccc, 0xaaaaaaaa}};
  for (std::uint32_t table = 0; table < 256; ++table) {
    // With these inputs each byte of the result is the table itself.
    ASSERT_EQ(evaluate<std::uint32_t>("lop3.b32 d, a, b, c, " + std::to_string(table) + ";", cases)[0],
              table * 0x01010101u);
  }
}

TEST(PtxLogic, FieldsBytesAndPairsAreTakenApart) {
  EXPECT_EQ((evaluate_one<std::uint32_t>("bfe.u32 d, a, 8, 12;", 0xabcdef12u)), 0xdefu);
  EXPECT_EQ((evaluate_one<std::int32_t>("bfe.s32 d, a, 8, 12;", std::int32_t(0xabcdef12u))), -529);
  EXPECT_EQ((evaluate_one<std::int32_t>("bfe.s32 d, a, 40, 4;", std::int32_t(0x80000000u))), -1);
  EXPECT_EQ((evaluate_one<std::uint32_t>("bfe.u32 d, a, 0, 0;", 0xffffffffu)), 0u);
  EXPECT_EQ((evaluate_one<std::uint64_t>("bfi.b64 d, a, b, 32, 32;", std::uint64_t{0x1234567812345678},
                                         std::uint64_t{0x9abcdef0})),
            0x123456789abcdef0u);
  EXPECT_EQ((evaluate_one<std::uint32_t>("prmt.b32 d, a, b, 0x7531;", 0x33221100u, 0x77665544u)),
            0x77553311u);
  EXPECT_EQ((evaluate_one<std::uint32_t>("prmt.b32 d, a, b, 0x00f8;", 0x00000080u, 0x7f000000u)),
            0x808000ffu);
  EXPECT_EQ((evaluate_one<std::uint32_t>("shf.l.wrap.b32 d, a, b, c;", 0x12345678u, 0x9abcdef0u, 40u)),
            0xbcdef012u);
  EXPECT_EQ((evaluate_one<std::uint32_t>("shf.r.wrap.b32 d, a, b, c;", 0x12345678u, 0x9abcdef0u, 8u)),
            0xf0123456u);
  EXPECT_EQ((evaluate_one<std::uint32_t>("shf.l.clamp.b32 d, a, b, c;", 0x12345678u, 0x9abcdef0u, 40u)),
            0x12345678u);
  EXPECT_EQ((evaluate_one<std::uint32_t>("popc.b32 d, a;", 0xf00fu)), 8u);
  EXPECT_EQ((evaluate_one<std::uint32_t>("clz.b32 d, a;", 0u)), 32u);
  EXPECT_EQ((evaluate_one<std::uint32_t>("clz.b64 d, a;", std::uint64_t{1})), 63u);
  EXPECT_EQ((evaluate_one<std::uint32_t>("brev.b32 d, a;", 0x80000001u)), 0x80000001u);
  EXPECT_EQ((evaluate_one<std::uint32_t>("bfind.u32 d, a;", 0x00100000u)), 20u);
  EXPECT_EQ((evaluate_one<std::uint32_t>("bfind.s32 d, a;", std::int32_t{-1})), 0xffffffffu);
}

// --- Floating point.

std::vector<std::tuple<float, float, float>> float_cases() {
  const float inf = std::numeric_limits<float>::infinity();
  const float values[] = {0.0f,      -0.0f,        1.0f,          -1.0f,          1.5f,   0x1p-126f,
                          0x1p-149f, -0x1.8p-140f, 3.1415927f,    1e30f,          -1e30f, 0x1.fffffep127f,
                          inf,       -inf,         std::nanf(""), 1.0f + 0x1p-23f};
  std::vector<std::tuple<float, float, float>> cases;
  for (const float a : values) {
    for (const float b : values) {
      cases.emplace_back(a, b, values[cases.size() % std::size(values)]);
    }
  }
  return cases;
}

bool same(float a, float b) {
  return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b) ||
         (std::isnan(a) && std::isnan(b));
}

template <class Expected>
void expect_floats(const std::string& code, Expected expected) {
  const auto cases = float_cases();
  const std::vector<float> results = evaluate<float>(code, cases);
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const auto [a, b, c] = cases[i];
    ASSERT_TRUE(same(results[i], expected(a, b, c)))
        << code << " of " << a << ", " << b << ", " << c << " gave " << results[i];
  }
}

TEST(PtxFloat, OperationsRoundOnceToNearest) {
  expect_floats("add.f32 d, a, b;", [](float a, float b, float) { return a + b; });
  expect_floats("sub.rn.f32 d, a, b;", [](float a, float b, float) { return a - b; });
  expect_floats("mul.f32 d, a, b;", [](float a, float b, float) { return a * b; });
  expect_floats("div.rn.f32 d, a, b;", [](float a, float b, float) { return a / b; });
  expect_floats("fma.rn.f32 d, a, b, c;", [](float a, float b, float c) { return std::fma(a, b, c); });
  expect_floats("sqrt.rn.f32 d, a;", [](float a, float, float) { return std::sqrt(a); });
  expect_floats("neg.f32 d, a;", [](float a, float, float) { return -a; });
  expect_floats("abs.f32 d, a;", [](float a, float, float) { return std::fabs(a); });
  expect_floats("copysign.f32 d, a, b;", [](float a, float b, float) { return std::copysign(b, a); });
}

TEST(PtxFloat, ExtremesPreferNumbersToNanAndOrderZeros) {
  const auto lesser = [](float a, float b, float) {
    return std::isnan(a) ? b : std::isnan(b) ? a : a == b ? (std::signbit(a) ? a : b) : std::min(a, b);
  };
  const auto larger = [](float a, float b, float) {
    return std::isnan(a) ? b : std::isnan(b) ? a : a == b ? (std::signbit(a) ? b : a) : std::max(a, b);
  };
  expect_floats("min.f32 d, a, b;", lesser);
  expect_floats("max.f32 d, a, b;", larger);
  expect_floats("max.NaN.f32 d, a, b;", [&](float a, float b, float c) {
    return std::isnan(a) || std::isnan(b) ? NAN : larger(a, b, c);
  });
}

TEST(PtxFloat, DirectedRoundingBracketsTheExactResult) {
  const float third = evaluate_one<float>("div.rz.f32 d, a, b;", 1.0f, 3.0f);
  EXPECT_EQ(evaluate_one<float>("div.rp.f32 d, a, b;", 1.0f, 3.0f), std::nextafter(third, 1.0f));
  EXPECT_EQ(evaluate_one<float>("add.rp.f32 d, a, b;", 1.0f, 0x1p-60f), 1.0f + 0x1p-23f);
  EXPECT_EQ(evaluate_one<float>("add.rm.f32 d, a, b;", 1.0f, 0x1p-60f), 1.0f);
  EXPECT_EQ(evaluate_one<float>("add.rm.f32 d, a, b;", -1.0f, -0x1p-60f), -1.0f - 0x1p-23f);
  EXPECT_EQ(evaluate_one<float>("fma.rm.f32 d, a, b, c;", 0.7f, 252.0f, 12582913.0f), 12582913.0f + 176.0f);
  EXPECT_EQ(evaluate_one<float>("fma.rn.f32 d, a, b, c;", 0.7f, 252.0f, 12582913.0f), 12582913.0f + 176.0f);
  EXPECT_EQ(evaluate_one<float>("fma.rp.f32 d, a, b, c;", 0.7f, 252.0f, 12582913.0f), 12582913.0f + 177.0f);
}

TEST(PtxFloat, SaturationAndFlushingActOnTheResult) {
  expect_floats("add.sat.f32 d, a, b;", [](float a, float b, float) {
    const float sum = a + b;
    return sum > 0 ? std::min(sum, 1.0f) : 0.0f;
  });
  const auto flush = [](float x) { return std::fabs(x) < 0x1p-126f ? std::copysign(0.0f, x) : x; };
  expect_floats("mul.ftz.f32 d, a, b;", [&](float a, float b, float) { return flush(flush(a) * flush(b)); });
  EXPECT_EQ(evaluate_one<float>("ex2.approx.ftz.f32 d, a;", -130.0f), 0.0f);
  EXPECT_EQ(evaluate_one<float>("ex2.approx.f32 d, a;", -130.0f), 0x1p-130f);
  EXPECT_EQ(evaluate_one<float>("ex2.approx.ftz.f32 d, a;", -std::numeric_limits<float>::infinity()), 0.0f);
}

RC_GTEST_PROP(PtxFloat, ApproximationsAreWithinTwoUlp, ()) {
  const auto values = *rc::gen::container<std::vector<int>>(64, rc::gen::inRange(1, 2000000));
  std::vector<std::tuple<float>> cases;
  for (const int value : values) {
    cases.emplace_back(static_cast<float>(value) / 200000.0f);
  }
  const std::pair<const char*, double (*)(double)> functions[] = {
      {"ex2.approx.f32", [](double x) { return std::exp2(x); }},
      {"lg2.approx.f32", [](double x) { return std::log2(x); }},
      {"sin.approx.f32", [](double x) { return std::sin(x); }},
      {"cos.approx.f32", [](double x) { return std::cos(x); }},
      {"tanh.approx.f32", [](double x) { return std::tanh(x); }},
      {"rsqrt.approx.f32", [](double x) { return 1 / std::sqrt(x); }},
      {"rcp.approx.ftz.f32", [](double x) { return 1 / x; }},
      {"sqrt.approx.f32", [](double x) { return std::sqrt(x); }}};
  for (const auto& [opcode, function] : functions) {
    const auto results = evaluate<float>(std::string(opcode) + " d, a;", cases);
    for (std::size_t i = 0; i < cases.size(); ++i) {
      const double exact = function(std::get<0>(cases[i]));
      RC_ASSERT(std::fabs(results[i] - exact) <= 2.4e-7 * std::fabs(exact) + 1e-30);
    }
  }
}

TEST(PtxFloat, UnorderedComparisonsAreTrueForNan) {
  const auto compare = [](const std::string& how, auto expected) {
    expect_floats("setp." + how + ".f32 p, a, b; selp.f32 d, 0f3F800000, 0f00000000, p;",
                  [&](float a, float b, float) { return expected(a, b) ? 1.0f : 0.0f; });
  };
  compare("eq", [](float a, float b) { return a == b; });
  compare("ne", [](float a, float b) { return a < b || a > b; });
  compare("lt", [](float a, float b) { return a < b; });
  compare("ltu", [](float a, float b) { return !(a >= b); });
  compare("geu", [](float a, float b) { return !(a < b); });
  compare("neu", [](float a, float b) { return a != b; });
  compare("equ", [](float a, float b) { return !(a < b || a > b); });
  compare("gtu", [](float a, float b) { return !(a <= b); });
  compare("num", [](float a, float b) { return !std::isnan(a) && !std::isnan(b); });
  compare("nan", [](float a, float b) { return std::isnan(a) || std::isnan(b); });
}

TEST(PtxCompare, TwoPredicatesCombineWithAThird) {
  const std::string code =
      "setp.ne.u32 %p1, c, 0; setp.lt.and.u32 p|q, a, b, %p1;"
      "selp.u32 %r2, 1, 0, p; selp.u32 %r3, 2, 0, q; or.b32 d, %r2, %r3;";
  EXPECT_EQ((evaluate_one<std::uint32_t>(code, 1u, 2u, 1u)), 1u);
  EXPECT_EQ((evaluate_one<std::uint32_t>(code, 2u, 1u, 1u)), 2u);
  EXPECT_EQ((evaluate_one<std::uint32_t>(code, 1u, 2u, 0u)), 0u);
  EXPECT_EQ((evaluate_one<std::uint32_t>(
                "setp.ne.u32 %p1, b, 0; setp.eq.or.u32 p, a, 7, %p1; selp.u32 d, 1, 0, p;", 7u, 0u)),
            1u);
}

}  // namespace
