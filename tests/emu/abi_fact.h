// One thing that a CUDA header says, so that NVIDIA's headers and the stand-ins can be compared.
#pragma once

#include <string>
#include <vector>

namespace pagelab::testing {

struct AbiFact {
  std::string name;
  long long value;
  std::string text;  ///< what CUDA says of an error; empty for other facts
};

std::vector<AbiFact> standin_abi();  ///< abi_standin.cc
std::vector<AbiFact> nvidia_abi();   ///< abi_nvidia.cc

}  // namespace pagelab::testing
