// PluginAbi: the record by which the program sees whether a shared library was built for it (core/plugin.h).
// Plain data, read before anything else of the library.
#pragma once

#include <cstdint>
#include <string_view>

namespace pagelab {

/// What a library and the program must have in common so that the one can call the other. Texts end with a
/// zero.
struct PluginAbi {
  char magic[16];             ///< PluginAbi::mark
  std::uint32_t size;         ///< of this record, in bytes
  char pagelab[20];           ///< version
  char compiler[32];          ///< and its version
  char standard_library[48];  ///< its version, and which of its binary interfaces
  char sanitizers[32];        ///< "none", "address", ...
  char assertions[8];         ///< "off" (NDEBUG) or "on"; told, not compared: no interface depends on it
  char interface_hash[65];    ///< SHA-256 over the interface headers, in hexadecimal

  static constexpr std::string_view mark = "pagelab plugin";
};

}  // namespace pagelab
