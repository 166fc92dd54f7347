// Every check of the SIMT machine against a kernel with a planted bug and against its correct twin.
#include "tests/emu/check_fixture.h"

namespace pagelab::emu {
namespace {

// --- Races on shared memory.

TEST_F(CheckTest, RaceReportNamesBothLinesAndBothThreads) {
  const cuda::RacingLines lines = cuda::previous_cell_lines();
  expect_report(
      Kind::race,
      {"check_kernels.cu:" + std::to_string(lines.read) +
           " block (0,0,0) thread (1,0,0) reads 4 bytes of shared memory at offset 0, written at ",
       "check_kernels.cu:" + std::to_string(lines.write) + " by thread (0,0,0) with no barrier between"},
      [&] { cuda::previous_cell(Twin::planted, out_.data()); });
}

TEST_F(CheckTest, MissingBarrierBetweenWriteAndReadIsFoundUnderEverySchedule) {
  // Who comes first decides whether the read is of a cell that is not written yet.
  expect_found({Kind::race, Kind::uninitialised}, [&](Twin twin) { cuda::previous_cell(twin, out_.data()); });
}

TEST_F(CheckTest, MissingBarrierBeforeCellsAreReusedIsARace) {
  expect_found({Kind::race}, [&](Twin twin) { cuda::next_round(twin, out_.data()); });
}

TEST_F(CheckTest, TwoThreadsThatWriteTheSameValueRace) {
  expect_found({Kind::race}, [&](Twin twin) { cuda::common_flag(twin, out_.data()); });
}

TEST_F(CheckTest, WarpBarrierOrdersItsWarpAlone) {
  expect_found({Kind::race, Kind::uninitialised}, [&](Twin twin) { cuda::warp_sync(twin, out_.data()); });
}

TEST_F(CheckTest, WarpBarrierOrdersTheLanesOfItsMaskAlone) {
  expect_found({Kind::race, Kind::uninitialised},
               [&](Twin twin) { cuda::half_warp_sync(twin, out_.data()); });
}

TEST_F(CheckTest, ShufflesOrderNothing) {
  expect_found({Kind::race}, [&](Twin twin) { cuda::shuffle_order(twin, out_.data()); });
}

TEST_F(CheckTest, NeighboursInOneWordDoNotRace) {
  expect_clean([&] { cuda::narrow_cells(out_.data()); });
}

// --- Asynchronous copies.

TEST_F(CheckTest, MissingTrailingBarrierOfADoubleBufferIsARaceWithTheCopy) {
  const Floats in(numbers(8 * 256));
  expect_found({Kind::race}, [&](Twin twin) { cuda::double_buffer(twin, in.data(), out_.data()); });
}

TEST_F(CheckTest, MissingWaitIsARaceWithTheCopyInFlight) {
  const Floats in(numbers(256));
  expect_found({Kind::race}, [&](Twin twin) { cuda::copy_without_wait(twin, in.data(), out_.data()); });
  expect_report(Kind::race,
                {"reads 4 bytes of shared memory", "the target of a cp.async issued at", "has not waited"},
                [&] { cuda::copy_without_wait(Twin::planted, in.data(), out_.data()); });
}

TEST_F(CheckTest, CopyOfAnotherThreadNeedsABarrierAfterItsWait) {
  const Floats in(numbers(256));
  expect_found({Kind::race, Kind::uninitialised},
               [&](Twin twin) { cuda::copy_without_barrier(twin, in.data(), out_.data()); });
}

TEST_F(CheckTest, CopyFromUnwrittenMemoryIsReported) {
  const Floats in(256);
  expect_report(Kind::uninitialised,
                {"copies asynchronously from 16 bytes of a device allocation of 1024 bytes"},
                [&] { cuda::copy_without_wait(Twin::correct, in.data(), out_.data()); });
}

// --- Barriers and collectives, which the machine checks.

TEST_F(CheckTest, DivergentBarrierIsReported) {
  expect_found({Kind::barrier}, [&](Twin twin) { cuda::divergent_barrier(twin, out_.data()); });
}

TEST_F(CheckTest, MismatchedCollectiveIsReported) {
  expect_found({Kind::collective}, [&](Twin twin) { cuda::mismatched_collective(twin, out_.data()); });
}

// --- Addresses.

TEST_F(CheckTest, SharedMemoryHasItsExactSize) {
  expect_clean([&] { cuda::shared_bounds(Twin::correct, out_.data()); });
  expect_report(
      Kind::illegal_address,
      {"thread (63,0,0) writes 4 bytes 0 bytes past the end of the block's 256 bytes of shared memory"},
      [&] { cuda::shared_bounds(Twin::planted, out_.data()); });
}

TEST_F(CheckTest, GlobalMemoryEndsBeforeTheGuardPage) {
  expect_clean([&] { cuda::fill(out_.data(), 256); });
  expect_report(
      Kind::illegal_address,
      {"block (4,0,0) thread (0,0,0) writes 4 bytes 0 bytes past the end of a device allocation of 1024"},
      [&] { cuda::fill(out_.data(), 257); });
}

TEST_F(CheckTest, GlobalMemoryEndsBeforeTheGapToTheGuardPage) {
  const Floats odd(60);
  expect_clean([&] { cuda::fill(odd.data(), 60); });
  expect_report(Kind::illegal_address,
                {"thread (60,0,0) writes", "past the end of a device allocation of 240 bytes"},
                [&] { cuda::fill(odd.data(), 61); });
  expect_report(Kind::illegal_address, {"writes 4 bytes 4 bytes before a device allocation of 240 bytes"},
                [&] { cuda::fill(odd.data() - 1, 1); });
}

TEST_F(CheckTest, AccessAcrossTheEndIsReported) {
  const Floats odd(62);
  expect_report(Kind::illegal_address,
                {"thread (15,0,0) writes 16 bytes across the end of a device allocation of 248"},
                [&] { cuda::fill_wide(odd.data()); });
}

TEST_F(CheckTest, FreedMemoryIsNoMemory) {
  float* freed = nullptr;
  {
    const Floats array(64);
    freed = array.data();
    expect_clean([&] { cuda::fill(freed, 64); });
  }
  expect_report(Kind::illegal_address,
                {"writes 4 bytes at offset 0 of a device allocation of 256 bytes", "freed"},
                [&] { cuda::fill(freed, 64); });
}

TEST_F(CheckTest, HostMemoryIsNoMemoryOfTheDevice) {
  std::vector<float> host(64);
  expect_report(Kind::illegal_address, {"there is no memory of the device"},
                [&] { cuda::fill(host.data(), 64); });
  expect_report(Kind::illegal_address, {"there is no memory of the device"},
                [&] { cuda::fill(nullptr, 64); });
}

TEST_F(CheckTest, PinnedMemoryCanBeAccessed) {
  float* pinned = nullptr;
  ASSERT_EQ(cudaMallocHost(&pinned, 64 * sizeof(float)), cudaSuccess);
  expect_clean([&] { cuda::copy(pinned, out_.data(), 64); });
  expect_clean([&] { cuda::fill(pinned, 64); });
  expect_report(Kind::illegal_address, {"past the end of a pinned allocation of 256 bytes"},
                [&] { cuda::fill(pinned, 65); });
  cudaFreeHost(pinned);
}

TEST_F(CheckTest, VectorsMustBeAligned) {
  const Floats in(numbers(130));
  expect_clean([&] { cuda::fill_wide(out_.data()); });
  expect_report(Kind::illegal_address, {"16 bytes", "not a multiple"},
                [&] { cuda::fill_wide(out_.data() - 1); });
  expect_clean([&] { cuda::read_doubles(in.data(), out_.data()); });
  expect_report(Kind::illegal_address, {"reads 8 bytes", "at offset 4: the address is not a multiple of 8"},
                [&] { cuda::read_doubles(in.data() + 1, out_.data()); });
}

TEST_F(CheckTest, CopiesOfWholeStructuresAreAccesses) {
  const Floats in(numbers(60));
  expect_clean([&] { cuda::copy_rows(in.data(), out_.data(), 3); });
  EXPECT_EQ(out_.download()[59], 59.0f);
  expect_report(Kind::illegal_address, {"thread (3,0,0) reads", "past the end of a device allocation of 240"},
                [&] { cuda::copy_rows(in.data(), out_.data(), 4); });
}

// --- Written or not.

TEST_F(CheckTest, UnwrittenSharedMemoryMustNotBeRead) {
  expect_found({Kind::uninitialised}, [&](Twin twin) { cuda::unwritten_cells(twin, out_.data()); });
  expect_report(Kind::uninitialised,
                {"thread (58,0,0) reads 4 bytes of shared memory at offset 20", "byte 20"},
                [&] { cuda::unwritten_cells(Twin::planted, out_.data()); });
}

TEST_F(CheckTest, SharedMemoryOfAnEarlierBlockOrLaunchIsUnwritten) {
  expect_clean([&] { cuda::unwritten_cells(Twin::correct, out_.data()); });
  expect_report(Kind::uninitialised, {"reads 4 bytes of shared memory"},
                [&] { cuda::unwritten_cells(Twin::planted, out_.data()); });
}

TEST_F(CheckTest, UnwrittenGlobalMemoryMustNotBeRead) {
  const Floats in(64);
  expect_report(Kind::uninitialised,
                {"thread (0,0,0) reads 4 bytes of a device allocation of 256 bytes at offset 0", "byte 0"},
                [&] { cuda::copy(in.data(), out_.data(), 64); });
}

TEST_F(CheckTest, KernelsFillsAndCopiesWriteGlobalMemory) {
  const Floats by_kernel(64);
  cuda::fill(by_kernel.data(), 64);
  expect_clean([&] { cuda::copy(by_kernel.data(), out_.data(), 64); });
  const Floats by_memset(64);
  cuda::check(cudaMemset(by_memset.data(), 0, 63 * sizeof(float)), "cudaMemset");
  expect_clean([&] { cuda::copy(by_memset.data(), out_.data(), 63); });
  expect_report(Kind::uninitialised, {"at offset 252"},
                [&] { cuda::copy(by_memset.data(), out_.data(), 64); });
  const Floats by_copy(64);
  cuda::check(cudaMemcpy(by_copy.data(), by_memset.data(), 256, cudaMemcpyDeviceToDevice), "cudaMemcpy");
  expect_clean([&] { cuda::copy(by_copy.data(), out_.data(), 63); });
  expect_report(Kind::uninitialised, {"at offset 252"}, [&] { cuda::copy(by_copy.data(), out_.data(), 64); });
}

// --- Races on global memory.

TEST_F(CheckTest, BlocksThatWriteTheSameRowRace) {
  expect_found({Kind::race}, [&](Twin twin) { cuda::block_rows(twin, out_.data()); });
  expect_report(Kind::race,
                {"block (1,0,0) thread (0,0,0) writes 4 bytes of a device allocation of 1024 bytes at offset "
                 "0, written",
                 "by block (0,0,0) thread (0,0,0); nothing orders the blocks of a launch"},
                [&] { cuda::block_rows(Twin::planted, out_.data()); });
}

TEST_F(CheckTest, BlockThatReadsWhatAnotherWritesRaces) {
  out_.upload(numbers(256));
  expect_found({Kind::race}, [&](Twin twin) { cuda::neighbour_block(twin, out_.data()); });
}

TEST_F(CheckTest, AtomicsDoNotRaceWithEachOtherButWithPlainReads) {
  out_.upload(std::vector<float>(256, 0.0f));
  expect_clean([&] { cuda::sum(Twin::correct, out_.data()); });
  EXPECT_EQ(out_.download()[0], 256.0f);
  out_.upload(std::vector<float>(256, 0.0f));
  expect_report(Kind::race, {"reads 4 bytes", "updated atomically at"},
                [&] { cuda::sum(Twin::planted, out_.data()); });
}

TEST_F(CheckTest, AtomicsRaceWithTheWriteThatMakesTheirCounter) {
  expect_found({Kind::race, Kind::uninitialised}, [&](Twin twin) { cuda::shared_count(twin, out_.data()); });
  expect_report(Kind::race, {"thread (1,0,0) updates atomically 4 bytes", "written at", "by thread (0,0,0)"},
                [&] { cuda::shared_count(Twin::planted, out_.data()); });
}

}  // namespace
}  // namespace pagelab::emu
