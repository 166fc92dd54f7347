// The tests of a layer in which every memory access of a kernel is checked: a report fails the test.
#include <gtest/gtest.h>

#include "kernels/emu/check.h"

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  const pagelab::emu::Checker checker;
  return RUN_ALL_TESTS();
}
