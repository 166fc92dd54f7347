// What this program was built from and by; for `pagelab --version` and the provenance in a run folder.
#pragma once

#include <string>

namespace pagelab {

std::string build_version();  ///< "0.1.0"
std::string
build_commit();  ///< git's name for the sources ("-dirty" if changed since); "unknown" without git
std::string build_compiler();  ///< "GCC 12.2.0"
std::string build_type();      ///< "Release"

}  // namespace pagelab
