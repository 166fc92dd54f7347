#include "kernels/cuda/primitives.cuh"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "tests/emu/simt_fixture.h"

namespace pagelab::testing {
namespace {

using namespace kernels::cuda_emulated;
using Kind = emu::KernelError::Kind;

// --- 16-bit numbers, against their definition.

/// The value of 16 bits with `exponent_bits` of exponent, from IEEE 754.
double value_of(unsigned bits, int exponent_bits) {
  const int fraction_bits = 15 - exponent_bits;
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const int exponent = static_cast<int>(bits >> fraction_bits) & ((1 << exponent_bits) - 1);
  const double fraction = std::ldexp(bits & ((1u << fraction_bits) - 1), -fraction_bits);
  const double sign = (bits & 0x8000u) != 0 ? -1 : 1;
  if (exponent == (1 << exponent_bits) - 1) {
    return fraction != 0 ? std::numeric_limits<double>::quiet_NaN()
                         : sign * std::numeric_limits<double>::infinity();
  }
  return sign * (exponent == 0 ? std::ldexp(fraction, 1 - bias) : std::ldexp(1 + fraction, exponent - bias));
}

template <class T>
struct Format;
template <>
struct Format<f16> {
  static constexpr int exponent_bits = 5;
  static constexpr unsigned infinity = 0x7c00;
};
template <>
struct Format<bf16> {
  static constexpr int exponent_bits = 8;
  static constexpr unsigned infinity = 0x7f80;
};

template <class T>
class Numbers : public ::testing::Test {};
using Types = ::testing::Types<f16, bf16>;
TYPED_TEST_SUITE(Numbers, Types);

TYPED_TEST(Numbers, All65536HaveTheirValueAndComeBack) {
  for (unsigned bits = 0; bits < 65536; ++bits) {
    const float value = to_float(TypeParam{static_cast<std::uint16_t>(bits)});
    const double expected = value_of(bits, Format<TypeParam>::exponent_bits);
    const unsigned back = from_float<TypeParam>(value).bits;
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(value)) << bits;
      ASSERT_EQ(back, 0x7fffu);
    } else {
      ASSERT_EQ(value, expected) << bits;
      ASSERT_EQ(std::signbit(value), (bits & 0x8000u) != 0);
      ASSERT_EQ(back, bits);
    }
  }
}

TYPED_TEST(Numbers, EveryMidpointRoundsToEvenAndItsNeighboursToNearest) {
  const int exponent_bits = Format<TypeParam>::exponent_bits;
  for (unsigned bits = 0; bits < Format<TypeParam>::infinity; ++bits) {
    const double low = value_of(bits, exponent_bits);
    // Beyond the largest, the next step decides between it and infinity.
    const double high = bits + 1 == Format<TypeParam>::infinity ? 2 * low - value_of(bits - 1, exponent_bits)
                                                                : value_of(bits + 1, exponent_bits);
    const auto middle = static_cast<float>((low + high) / 2);
    const float infinity = std::numeric_limits<float>::infinity();
    for (const unsigned sign : {0u, 0x8000u}) {
      const float factor = sign == 0 ? 1.0f : -1.0f;
      const auto round = [&](float x) { return unsigned{from_float<TypeParam>(factor * x).bits}; };
      ASSERT_EQ(round(middle), sign | (bits + bits % 2)) << bits;
      ASSERT_EQ(round(std::nextafter(middle, 0.0f)), sign | bits) << bits;
      ASSERT_EQ(round(std::nextafter(middle, infinity)), sign | (bits + 1)) << bits;
    }
  }
  EXPECT_EQ(from_float<TypeParam>(std::numeric_limits<float>::max()).bits, Format<TypeParam>::infinity);
}

TYPED_TEST(Numbers, PairsKeepTheLowOneLow) {
  const std::uint32_t pair = pack2<TypeParam>(1.5f, -2.0f);
  EXPECT_EQ(pair & 0xffff, from_float<TypeParam>(1.5f).bits);
  EXPECT_EQ(unpack2<TypeParam>(pair).x, 1.5f);
  EXPECT_EQ(unpack2<TypeParam>(pair).y, -2.0f);
}

TEST(Exponential, IsZeroAtMinusInfinity) {
  EXPECT_EQ(exp2_fast(-std::numeric_limits<float>::infinity()), 0.0f);
  EXPECT_EQ(exp2_fast(3.0f), 8.0f);
}

// --- Memory.

struct Tile {
  uint4 rows[64];
};

TEST(Load16, RefusesAnAddressThatIsNoMultipleOf16) {
  const Failure failure = failure_of(
      32,
      [] {
        const auto* bytes = reinterpret_cast<const char*>(shared_memory<Tile>().rows);
        load16(bytes + (threadIdx.x == 3 ? 8 : 0));
      },
      sizeof(Tile));
  EXPECT_EQ(failure.kind, Kind::illegal_address);
  EXPECT_TRUE(failure.mentions("primitives_test.cc:") && failure.mentions("thread (3,0,0)"))
      << failure.report;
}

TEST(SharedStruct, MustFitWhatTheLaunchGave) {
  EXPECT_EQ(failure_of(
                1, [] { shared_memory<Tile>(); }, sizeof(Tile) - 1)
                .kind,
            Kind::illegal_address);
}

bool poisoned(const uint4& value) {
  return (value.x & value.y & value.z & value.w) == 0xffffffffu;
}

TEST(AsyncCopy, IsPoisonUntilItsGroupIsWaitedFor) {
  alignas(16) static const std::uint32_t source[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  under_schedules([] {
    launch(
        32,
        [] {
          uint4* rows = shared_memory<Tile>().rows + 2 * threadIdx.x;
          rows[0] = rows[1] = make_uint4(0, 0, 0, 0);
          async_copy16(&rows[0], source);
          async_commit();
          async_copy16(&rows[1], source + 4);
          EXPECT_TRUE(poisoned(rows[0]) && poisoned(rows[1]));
          async_commit();
          async_wait<2>();
          EXPECT_TRUE(poisoned(rows[0]) && poisoned(rows[1]));
          async_wait<1>();
          EXPECT_EQ(rows[0].w, 4u);
          EXPECT_TRUE(poisoned(rows[1]));
          async_wait<0>();
          EXPECT_EQ(rows[1].x, 5u);
        },
        sizeof(Tile));
  });
}

TEST(AsyncCopy, WithoutACommitIsNotWaitedFor) {
  alignas(16) static const std::uint32_t source[4] = {};
  launch(
      1,
      [] {
        uint4* row = shared_memory<Tile>().rows;
        async_copy16(row, source);
        async_wait<0>();
        EXPECT_TRUE(poisoned(*row));
      },
      sizeof(Tile));
}

TEST(AsyncCopy, BringsZerosForWhatIsNotValidAndReadsNothing) {
  launch(
      1,
      [] {
        uint4* row = shared_memory<Tile>().rows;
        async_copy16(row, nullptr, false);
        EXPECT_TRUE(poisoned(*row));
        async_commit();
        async_wait<0>();
        EXPECT_EQ(row->x | row->y | row->z | row->w, 0u);
        // The sizes that only PTX code asks for.
        static const std::uint16_t source[2] = {0x1234, 0x5678};
        emu::async_copy(row, source, 4, 2, 0, emu::site());
        async_commit();
        async_wait<0>();
        EXPECT_EQ(row->x, 0x1234u);
      },
      sizeof(Tile));
}

TEST(AsyncCopy, RefusesMisalignedAddressesAndTargetsOutsideOfSharedMemory) {
  alignas(16) static std::byte memory[64];
  const auto copy = [](std::ptrdiff_t target, std::ptrdiff_t source) {
    return failure_of(
        1, [=] { async_copy16(emu::shared_memory() + target, memory + source); }, 64);
  };
  EXPECT_EQ(copy(48, 48).kind, std::nullopt);
  EXPECT_EQ(copy(8, 0).kind, Kind::illegal_address);
  EXPECT_EQ(copy(0, 4).kind, Kind::illegal_address);
  EXPECT_EQ(copy(64, 0).kind, Kind::illegal_address);
  EXPECT_EQ(copy(-16, 0).kind, Kind::illegal_address);
}

// --- What an observer hears.

class Recorder : public emu::Observer {
 public:
  struct Seen {
    std::string what;
    std::size_t bytes;
    int line;
    std::uintptr_t pc;
  };
  Recorder() { emu::set_observer(this); }
  ~Recorder() override { emu::set_observer(nullptr); }

  void launch_begins(const emu::LaunchShape&) override { add("launch begins"); }
  void launch_ends() override { add("launch ends"); }
  void block_begins() override { add("block begins"); }
  void access(emu::Access kind, const void*, std::size_t bytes, std::uintptr_t pc, emu::Site site) override {
    const char* names[] = {"read", "write", "atomic"};
    seen.push_back({names[static_cast<int>(kind)], bytes, site.line, pc});
  }
  void async_issued(void*, std::size_t bytes, const void*, std::size_t source_bytes, std::uintptr_t pc,
                    emu::Site site) override {
    seen.push_back({"issued " + std::to_string(source_bytes), bytes, site.line, pc});
  }
  void async_landed(void*, std::size_t bytes) override { seen.push_back({"landed", bytes, 0, 0}); }
  void block_synchronised() override { add("block met"); }
  void warp_synchronised(std::uint32_t mask) override { add("warp met " + std::to_string(mask)); }

  std::vector<Seen> seen;

 private:
  void add(const std::string& what) { seen.push_back({what, 0, 0, 0}); }
};

TEST(Observer, HearsOfEverythingWithItsLine) {
  Recorder recorder;
  int counter = 0;
  int line = 0;
  launch(
      2,
      [&] {
        Tile& tile = shared_memory<Tile>();
        __syncwarp(0b11);
        __syncthreads();
        if (threadIdx.x == 0) {
          line = __LINE__;
          async_copy16(&tile.rows[0], &tile.rows[1]);
          async_commit();
          async_wait<0>();
          store16(&tile.rows[2], load16(&tile.rows[0]));
          atomicAdd(&counter, 1);
        }
      },
      sizeof(Tile));
  struct Expected {
    std::string what;
    std::size_t bytes;
    int line;
  };
  const Expected expected[] = {{"launch begins", 0, 0}, {"block begins", 0, 0},      {"warp met 3", 0, 0},
                               {"block met", 0, 0},     {"issued 16", 16, line + 1}, {"landed", 16, 0},
                               {"read", 16, line + 4},  {"write", 16, line + 4},     {"atomic", 4, line + 5},
                               {"launch ends", 0, 0}};
  ASSERT_EQ(recorder.seen.size(), std::size(expected));
  for (std::size_t index = 0; index < std::size(expected); ++index) {
    EXPECT_EQ(recorder.seen[index].what, expected[index].what);
    EXPECT_EQ(recorder.seen[index].bytes, expected[index].bytes) << recorder.seen[index].what;
    EXPECT_EQ(recorder.seen[index].line, expected[index].line) << recorder.seen[index].what;
  }
}

}  // namespace
}  // namespace pagelab::testing
