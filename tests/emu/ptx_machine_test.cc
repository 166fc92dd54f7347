// Memory, control flow and warp instructions of the PTX machine, from PTX given as text.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "kernels/emu/check.h"
#include "tests/emu/ptx_text.h"

namespace {

using namespace pagelab;
using namespace pagelab::testing;
using Kind = emu::KernelError::Kind;

template <class Body>
void expect_error(Kind kind, const std::string& part, Body body) {
  try {
    body();
    ADD_FAILURE() << "nothing was reported";
  } catch (const emu::KernelError& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
}

std::vector<std::uint32_t> counting(std::size_t count) {
  std::vector<std::uint32_t> values(count);
  std::iota(values.begin(), values.end(), 0u);
  return values;
}

const std::string kLane =
    "mov.u32 %r1, %tid.x; mul.wide.u32 %rd1, %r1, 4; add.s64 %rd2, %in, %rd1; add.s64 %rd3, %out, %rd1;\n";

TEST(PtxMemory, LoadsAndStoresOfEveryWidthAndVector) {
  const std::vector<std::uint32_t> in = {0x80ff7f01, 0x8000ffff, 0x12345678, 0x9abcdef0};
  const auto out = run_body<std::uint32_t>(
      "ld.global.s8 %r1, [%in+3]; st.global.u32 [%out], %r1; ld.global.u8 %r1, [%in+3]; st.global.u32 "
      "[%out+4], %r1;"
      "ld.global.s16 %r1, [%in+6]; st.global.u32 [%out+8], %r1; ld.global.u16 %rs1, [%in+4]; st.global.u16 "
      "[%out+14], %rs1;"
      "ld.global.nc.L1::no_allocate.v4.u32 {%r1, %r2, %r3, %r4}, [%in]; st.global.v4.u32 [%out+16], {%r4, "
      "%r3, %r2, %r1};"
      "ld.global.v2.u64 {%rd1, %rd2}, [%in]; st.global.v2.u64 [%out+32], {%rd2, %rd1};"
      "ld.global.v2.u8 {%rs1, %rs2}, [%in]; st.global.v2.u8 [%out+12], {%rs2, %rs1}; ld.global.v2.f32 {%f1, "
      "_}, [%in]; st.global.f32 [%out+48], %f1;",
      1, in, 13);
  EXPECT_EQ(out, (std::vector<std::uint32_t>{0xffffff80, 0x80, 0xffff8000, 0xffff017f, 0x9abcdef0, 0x12345678,
                                             0x8000ffff, 0x80ff7f01, 0x12345678, 0x9abcdef0, 0x80ff7f01,
                                             0x8000ffff, 0x80ff7f01}));
}

TEST(PtxMemory, MisalignedAndOutsideAccessesAreReportedWithTheirLine) {
  const auto in = counting(8);
  expect_error(Kind::illegal_address, "text.ptx:", [&] {
    run_body<int>("ld.global.v4.u32 {%r1, %r2, %r3, %r4}, [%in+8];", 1, in, 1);
  });
  expect_error(Kind::illegal_address, "shared memory at offset 64",
               [&] { run_body<int>("mov.u32 %r1, 64; st.shared.u32 [%r1], %r1;", 1, in, 1, 64); });
  run_body<int>("mov.u32 %r1, 60; st.shared.u32 [%r1], %r1;", 1, in, 1, 64);
  expect_error(Kind::illegal_address, "", [&] { run_body<int>("st.global.u32 [%out+256], %r1;", 1, in, 1); });
}

TEST(PtxMemory, GenericAddressesReachEverySpace) {
  const auto out = run_body<std::uint32_t>(
      ".shared .align 4 .b8 cell[8]; .local .align 4 .b8 own[8]; mov.u32 %r9, cell; cvt.u64.u32 %rd1, %r9; "
      "cvta.shared.u64 %rd2, %rd1;"
      "mov.u32 %r1, 7; st.u32 [%rd2+4], %r1; ld.shared.u32 %r2, [cell+4]; st.global.u32 [%out], %r2; "
      "cvta.to.shared.u64 %rd3, %rd2;"
      "cvt.u32.u64 %r3, %rd3; sub.u32 %r3, %r3, %r9; st.global.u32 [%out+4], %r3; mov.u64 %rd4, own; "
      "cvta.local.u64 %rd5, %rd4; st.local.u32 [own+4], %r1;"
      "ld.u32 %r4, [%rd5+4]; st.global.u32 [%out+8], %r4; isspacep.shared %p1, %rd2; isspacep.global %p2, "
      "%out; isspacep.local %p3, %rd5;"
      "isspacep.global %p4, %rd2; selp.u32 %r5, 1, 0, %p1; selp.u32 %r6, 1, 0, %p2; selp.u32 %r7, 1, 0, %p3; "
      "selp.u32 %r8, 1, 0, %p4;"
      "st.global.v4.u32 [%out+16], {%r5, %r6, %r7, %r8};",
      1, counting(1), 8, 16);
  EXPECT_EQ(out[0], 7u);
  EXPECT_EQ(out[1], 0u);
  EXPECT_EQ(out[2], 7u);
  EXPECT_EQ((std::vector(out.begin() + 4, out.end())), (std::vector<std::uint32_t>{1, 1, 1, 0}));
}

TEST(PtxMemory, StaticAndDynamicSharedMemoryLieApart) {
  const auto out = run_body<std::uint32_t>(
      ".shared .align 4 .b8 fixed[20]; mov.u32 %r1, 1; mov.u32 %r2, 2; st.shared.u32 [fixed+16], %r1; "
      "st.shared.u32 [grown+60], %r2; st.shared.u32 [grown], %r2;"
      "ld.shared.u32 %r3, [fixed+16]; ld.shared.u32 %r4, [grown+60]; mov.u32 %r5, %dynamic_smem_size; "
      "mov.u32 %r6, grown; and.b32 %r6, %r6, 15;"
      "st.global.v4.u32 [%out], {%r3, %r4, %r5, %r6};",
      1, counting(1), 4, 64, ".extern .shared .align 16 .b8 grown[];\n");
  EXPECT_EQ(out, (std::vector<std::uint32_t>{1, 2, 64, 0}));
}

TEST(PtxMemory, VariablesBeginWithTheirInitialValues) {
  const auto out = run_body<std::uint32_t>(
      "ld.global.u32 %r1, [table+4]; ld.const.u8 %r2, [bytes+1]; mov.u64 %rd1, table; ld.global.u32 %r3, "
      "[%rd1];"
      "st.global.u32 [%out], %r1; st.global.u32 [%out+4], %r2; st.global.u32 [%out+8], %r3;",
      1, counting(1), 3, 0,
      ".global .align 4 .u32 table[3] = {5, 0x10, -1};\n.const .align 1 .b8 bytes[2] = {1, 200};\n");
  EXPECT_EQ(out, (std::vector<std::uint32_t>{16, 200, 5}));
}

TEST(PtxMemory, AtomicsGiveTheValueBeforeAndAddUp) {
  const auto out = run_body<std::uint32_t>(
      "mov.u32 %r1, %tid.x; setp.ne.u32 %p1, %r1, 0; @%p1 bra after; mov.u32 %r2, 0; st.global.v4.u32 "
      "[%out], {%r2, %r2, %r2, %r2}; st.global.u32 [%out+16], %r2;"
      "after: bar.sync 0; atom.global.add.u32 %r3, [%out], 1; red.global.max.u32 [%out+4], %r1; mov.f32 %f1, "
      "0f3F000000; red.global.add.f32 [%out+8], %f1;"
      "atom.global.cas.b32 %r4, [%out+12], 0, 9; atom.global.inc.u32 %r5, [%out+16], 9; mul.wide.u32 %rd1, "
      "%r3, 4; add.s64 %rd2, %out, %rd1; st.global.u32 [%rd2+20], %r1;",
      64, counting(1), 5 + 64);
  EXPECT_EQ(out[0], 64u);
  EXPECT_EQ(out[1], 63u);
  EXPECT_EQ(std::bit_cast<float>(out[2]), 32.0f);
  EXPECT_EQ(out[3], 9u);
  EXPECT_EQ(out[4], 64u % 10);
  std::vector<std::uint32_t> tickets(out.begin() + 5, out.end());
  std::ranges::sort(tickets);
  EXPECT_EQ(tickets, counting(64));
}

TEST(PtxMemory, AsyncCopiesArriveAtTheWaitAndFillWithZeros) {
  const std::string copy =
      "mov.u32 %r1, 0; mov.u32 %r2, 4; cp.async.cg.shared.global [%r1], [%in], 16; cp.async.ca.shared.global "
      "[%r1+16], [%in+16], 8, %r2; cp.async.commit_group;";
  const std::string read =
      "ld.shared.u32 %r3, [%r1+4]; ld.shared.v2.u32 {%r4, %r5}, [%r1+16]; st.global.u32 [%out], %r3; "
      "st.global.u32 [%out+4], %r4; st.global.u32 [%out+8], %r5;";
  const std::vector<std::uint32_t> in = {1, 2, 3, 4, 5, 6};
  EXPECT_EQ((run_body<std::uint32_t>(copy + "cp.async.wait_group 0;" + read, 1, in, 3, 32)),
            (std::vector<std::uint32_t>{2, 5, 0}));
  EXPECT_EQ((run_body<std::uint32_t>(copy + "cp.async.wait_all;" + read, 1, in, 3, 32)),
            (std::vector<std::uint32_t>{2, 5, 0}));
  EXPECT_EQ((run_body<std::uint32_t>(copy + "cp.async.wait_group 1;" + read, 1, in, 3, 32)),
            (std::vector<std::uint32_t>{~0u, ~0u, ~0u}))
      << "still on its way";
}

TEST(PtxControl, ThreadsDivergeLoopAndMeetAgain) {
  // Each thread counts to its own number, then all meet; the sum that the first thread reads is complete.
  const auto out =
      run_body<std::uint32_t>(kLane +
                                  "mov.u32 %r2, 0; loop: setp.ge.u32 %p1, %r2, %r1; @%p1 bra done; add.u32 "
                                  "%r2, %r2, 1; bra.uni loop; done:"
                                  "shl.b32 %r3, %r1, 2; st.shared.u32 [%r3], %r2; bar.sync 0; xor.b32 %r3, "
                                  "%r3, 4; ld.shared.u32 %r4, [%r3]; st.global.u32 [%rd3], %r4;",
                              100, counting(1), 100, 400);
  for (std::uint32_t i = 0; i < 100; ++i) {
    EXPECT_EQ(out[i], i ^ 1);
  }
}

TEST(PtxControl, GuardsTablesAndCallsAreFollowed) {
  const std::string function =
      ".func (.param .b32 result) times(.param .b32 x, .param .b64 y) { .reg .b32 %r<4>; .reg .b64 %rd<2>; "
      ".local .align 8 .b8 own[8];"
      "ld.param.u32 %r1, [x]; ld.param.u64 %rd1, [y]; st.local.u64 [own], %rd1; ld.local.u32 %r2, [own]; "
      "mul.lo.u32 %r3, %r1, %r2; st.param.b32 [result], %r3; ret; }\n";
  const auto out = run_body<std::uint32_t>(
      kLane +
          "mov.u32 %r9, 1; brx.idx %r1, targets; targets: .branchtargets zero, one, two; two: mov.u32 %r9, "
          "30; bra end; zero: mov.u32 %r9, 10; bra end; one: mov.u32 %r9, 20; end:"
          "setp.eq.u32 %p1, %r1, 1; @%p1 add.u32 %r9, %r9, 1; @!%p1 add.u32 %r9, %r9, 2; mov.u64 %rd5, 3;"
          "{ .param .b32 p0; .param .b64 p1; .param .b32 r0; st.param.b32 [p0], %r9; st.param.b64 [p1], "
          "%rd5; call.uni (r0), times, (p0, p1); ld.param.b32 %r9, [r0]; }"
          "st.global.u32 [%rd3], %r9;",
      3, counting(1), 3, 0, function);
  EXPECT_EQ(out, (std::vector<std::uint32_t>{36, 63, 96}));
}

TEST(PtxControl, AnUnknownInstructionEndsTheLaunchWithItsTextAndLine) {
  const auto in = counting(1);
  expect_error(Kind::unsupported, "wgmma.fence.sync.aligned",
               [&] { run_body<int>("wgmma.fence.sync.aligned;", 1, in, 1); });
  expect_error(Kind::unsupported, "text.ptx:11",
               [&] { run_body<int>("\nadd.f16x2 %r1, %r2, %r3;", 1, in, 1); });
  run_body<int>("bra past; wgmma.fence.sync.aligned; past:", 1, in, 1);  // not reached
}

TEST(PtxControl, InstructionsAreCounted) {
  emu::ptx::reset_counts();
  run_body<int>("", 64, counting(1), 1);
  run_body<int>("setp.ne.u32 %p1, 0, 0; @%p1 mov.u32 %r1, 1; @!%p1 mov.u32 %r1, 2;", 64, counting(1), 1);
  const auto counts = emu::ptx::counts();
  ASSERT_EQ(counts.size(), 1u);
  EXPECT_EQ(counts[0].kernel, "body");
  EXPECT_EQ(counts[0].launches, 2u);
  EXPECT_EQ(counts[0].thread_instructions, 64u * (3 + 6));
}

std::vector<std::uint32_t> shuffled(const std::string& mode, std::uint32_t b, std::uint32_t c) {
  return run_body<std::uint32_t>(
      kLane + "shfl.sync." + mode + ".b32 %r2|%p1, %r1, " + std::to_string(b) + ", " + std::to_string(c) +
          ", -1; selp.u32 %r3, 100, 0, %p1; add.u32 %r2, %r2, %r3; st.global.u32 [%rd3], %r2;",
      32, counting(1), 32);
}

TEST(PtxWarp, ShufflesReadTheLaneThatTheirModeNames) {
  // Segments of 8 lanes; 100 is added where the lane read is in range.
  const std::uint32_t segment = 24u << 8;
  const auto up = shuffled("up", 3, segment), down = shuffled("down", 3, segment | 31),
             bfly = shuffled("bfly", 5, segment | 31), idx = shuffled("idx", 14, segment | 31);
  for (std::uint32_t lane = 0; lane < 32; ++lane) {
    const std::uint32_t in = lane % 8;
    EXPECT_EQ(up[lane], in >= 3 ? lane - 3 + 100 : lane);
    EXPECT_EQ(down[lane], in + 3 < 8 ? lane + 3 + 100 : lane);
    EXPECT_EQ(bfly[lane], (lane ^ 5) + 100);
    EXPECT_EQ(idx[lane], lane - in + 6 + 100);
  }
}

TEST(PtxWarp, AShuffleFromALaneOutsideOfTheMaskGivesANan) {
  const auto out = run_body<std::uint32_t>(kLane +
                                               "setp.ge.u32 %p1, %r1, 16; @%p1 ret; shfl.sync.idx.b32 %r2, "
                                               "%r1, 20, 31, 0xffff; st.global.u32 [%rd3], %r2;",
                                           32, counting(1), 16);
  EXPECT_EQ(out, std::vector<std::uint32_t>(16, ~0u));
}

TEST(PtxWarp, VotesCountTheMask) {
  const auto out = run_body<std::uint32_t>(
      kLane +
          "setp.ge.u32 %p1, %r1, 8; @%p1 ret; and.b32 %r2, %r1, 1; setp.ne.u32 %p2, %r2, 0; "
          "vote.sync.ballot.b32 %r3, %p2, 0xff; vote.sync.any.pred %p3, %p2, 0xff;"
          "vote.sync.all.pred %p4, %p2, 0xff; vote.sync.uni.pred %p5, %p1, 0xff; selp.u32 %r4, 0x100, 0, "
          "%p3; selp.u32 %r5, 0x200, 0, %p4; selp.u32 %r6, 0x400, 0, %p5;"
          "or.b32 %r3, %r3, %r4; or.b32 %r3, %r3, %r5; or.b32 %r3, %r3, %r6; st.global.u32 [%rd3], %r3;",
      32, counting(1), 8);
  EXPECT_EQ(out, std::vector<std::uint32_t>(8, 0xaau | 0x500u));
}

TEST(PtxWarp, MisusedCollectivesAndBarriersAreReported) {
  const auto in = counting(1);
  expect_error(Kind::collective, "", [&] { run_body<int>("bar.warp.sync 2;", 1, in, 1); });
  expect_error(Kind::barrier, "", [&] {
    run_body<int>(
        "mov.u32 %r1, %tid.x; setp.eq.u32 %p1, %r1, 0; @%p1 bra other;\nbar.sync 0;\nbra end; "
        "other:\nbar.sync 0;\nend:",
        32, in, 1);
  });
}

TEST(PtxChecks, ARaceIsReportedWithBothLines) {
  const std::string race = kLane + "shl.b32 %r2, %r1, 2;\nst.shared.u32 [%r2], %r1;\n";
  const std::string read = "and.b32 %r3, %r2, -8;\nld.shared.u32 %r4, [%r3];\n";
  const emu::Checker checker;
  expect_error(Kind::race, "text.ptx:14", [&] { run_body<int>(race + read, 32, counting(1), 1, 128); });
  expect_error(Kind::race, "text.ptx:12", [&] { run_body<int>(race + read, 32, counting(1), 1, 128); });
  run_body<int>(race + "bar.sync 0;\n" + read, 32, counting(1), 1, 128);
  expect_error(Kind::uninitialised, "",
               [&] { run_body<int>("mov.u32 %r1, 0; ld.shared.u32 %r2, [%r1];", 1, counting(1), 1, 16); });
}

}  // namespace
