#include <gtest/gtest.h>

#include "tests/emu/abi_fact.h"

namespace pagelab::testing {
namespace {

TEST(StandInHeadersTest, TypesValuesAndTextsAreNvidias) {
  const std::vector<AbiFact> standin = standin_abi();
  const std::vector<AbiFact> nvidia = nvidia_abi();
  ASSERT_EQ(standin.size(), nvidia.size());
  for (std::size_t i = 0; i < standin.size(); ++i) {
    ASSERT_EQ(standin[i].name, nvidia[i].name);
    EXPECT_EQ(standin[i].value, nvidia[i].value) << standin[i].name;
    EXPECT_EQ(standin[i].text, nvidia[i].text) << standin[i].name;
  }
}

}  // namespace
}  // namespace pagelab::testing
