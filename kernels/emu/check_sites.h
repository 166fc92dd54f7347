// The places of a kernel that accessed memory, as dense ids, and their names. A place is an instruction: a
// return address into the running program, named after its debug information by addr2line, or whatever comes
// with a Site of its own (PTX code, primitives). Names are looked up when something is printed, never while a
// kernel runs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/emu/simt.h"

namespace pagelab::emu {

using SiteId = std::uint32_t;
inline constexpr SiteId kMaxSites = 1u << 22;

class SiteTable {
 public:
  SiteTable();

  /// The id of an instruction, the same for the same `pc` and `site`.
  SiteId id(std::uintptr_t pc, Site site) {
    return pc == last_.pc && site == last_.site ? last_id_ : search(pc, site);
  }

  struct Place {
    std::string
        file;  ///< as the compiler was told it, or the program's name where debug information is missing
    int line = 0;
    std::string text() const { return file + ":" + std::to_string(line); }
  };
  /// Names all ids so far.
  const Place& place(SiteId id);

 private:
  struct Key {
    std::uintptr_t pc = 0;
    Site site;
  };

  SiteId search(std::uintptr_t pc, Site site);
  void grow();
  std::size_t slot_of(const Key& key) const;
  void name_all();

  std::vector<Key> keys_;           ///< by id
  std::vector<Place> places_;       ///< by id, as far as they have been named
  std::vector<std::uint32_t> ids_;  ///< open addressing: id + 1, or 0
  Key last_;
  SiteId last_id_ = 0;
};

}  // namespace pagelab::emu
