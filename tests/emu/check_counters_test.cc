// The counters of sectors and bank wavefronts against access patterns whose cost is known.
#include "tests/emu/check_fixture.h"

namespace pagelab::emu {
namespace {

class CounterTest : public CheckTest {
 protected:
  /// What `launch` counts for accesses of `kind` to global or shared memory, on whatever lines.
  LineCount count(Access kind, bool shared, const std::function<void()>& launch) {
    checker_.reset_counters();
    expect_clean(launch);
    LineCount sum;
    for (const LineCount& line : checker_.counters()) {
      EXPECT_TRUE(line.file.ends_with("check_kernels.cu")) << line.file;
      if (line.kind == kind && (shared ? line.wavefronts : line.sectors) > 0) {
        sum.requests += line.requests;
        sum.lanes += line.lanes;
        sum.sectors += line.sectors;
        sum.ideal_sectors += line.ideal_sectors;
        sum.wavefronts += line.wavefronts;
        sum.ideal_wavefronts += line.ideal_wavefronts;
      }
    }
    return sum;
  }

  void expect_sectors(std::uint64_t sectors, std::uint64_t ideal, int stride, int first) {
    const Floats in(numbers(32 * 8 + 8));
    const LineCount reads =
        count(Access::read, false, [&] { cuda::read_stride(in.data() + first, out_.data(), stride); });
    EXPECT_EQ(reads.requests, 1u);
    EXPECT_EQ(reads.lanes, 32u);
    EXPECT_EQ(reads.sectors, sectors);
    EXPECT_EQ(reads.ideal_sectors, ideal);
  }

  void expect_wavefronts(const LineCount& line, std::uint64_t wavefronts, std::uint64_t ideal) {
    EXPECT_EQ(line.requests, 1u);
    EXPECT_EQ(line.lanes, 32u);
    EXPECT_EQ(line.wavefronts, wavefronts);
    EXPECT_EQ(line.ideal_wavefronts, ideal);
  }
};

TEST_F(CounterTest, CoalescedReadTouchesAsFewSectorsAsHoldItsBytes) {
  expect_sectors(4, 4, 1, 0);
}
TEST_F(CounterTest, StrideOfTwoTouchesTwiceTheSectors) {
  expect_sectors(8, 4, 2, 0);
}
TEST_F(CounterTest, StrideOfASectorTouchesOnePerLane) {
  expect_sectors(32, 4, 8, 0);
}
TEST_F(CounterTest, ShiftedReadTouchesOneSectorMore) {
  expect_sectors(5, 4, 1, 1);
}

TEST_F(CounterTest, OneWordForAllLanesIsOneSector) {
  const Floats in(numbers(8));
  const LineCount reads = count(Access::read, false, [&] { cuda::read_same(in.data(), out_.data()); });
  EXPECT_EQ(reads.sectors, 1u);
  EXPECT_EQ(reads.ideal_sectors, 1u);
}

TEST_F(CounterTest, ColumnOfAPitchOf32WordsTakes32Wavefronts) {
  expect_wavefronts(count(Access::write, true, [&] { cuda::column_access(out_.data(), 32); }), 32, 1);
}

TEST_F(CounterTest, PaddedPitchHasNoConflicts) {
  expect_wavefronts(count(Access::write, true, [&] { cuda::column_access(out_.data(), 33); }), 1, 1);
}

TEST_F(CounterTest, WideAccessesOfARowTakeOneWavefrontPerQuarterOfAWarp) {
  expect_wavefronts(count(Access::write, true, [&] { cuda::wide_rows(out_.data()); }), 4, 4);
  expect_wavefronts(count(Access::read, true, [&] { cuda::wide_rows(out_.data()); }), 4, 4);
}

TEST_F(CounterTest, WideAccessesAtAPitchOf64BytesConflict) {
  // The eight lanes of a quarter take two groups of four banks, four lanes each.
  expect_wavefronts(count(Access::write, true, [&] { cuda::wide_column(out_.data()); }), 16, 4);
}

TEST_F(CounterTest, AsynchronousCopiesCountOnBothSides) {
  const Floats in(numbers(128));
  const auto launch = [&] { cuda::copy_rows_async(in.data(), out_.data()); };
  expect_wavefronts(count(Access::write, true, launch), 4, 4);
  const LineCount reads = count(Access::read, false, launch);
  EXPECT_EQ(reads.sectors, 16u);
  EXPECT_EQ(reads.ideal_sectors, 16u);
}

TEST_F(CounterTest, TableShowsTheWorstLineFirst) {
  const Floats in(numbers(64));
  checker_.reset_counters();
  expect_clean([&] { cuda::read_stride(in.data(), out_.data(), 2); });
  const std::string table = format_counters(checker_.counters());
  EXPECT_LT(table.find(" read "), table.find(" write ")) << table;
  EXPECT_NE(table.find(" 2.00 "), std::string::npos) << table;
}

}  // namespace
}  // namespace pagelab::emu
