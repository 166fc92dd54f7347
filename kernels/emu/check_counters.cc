#include "kernels/emu/check_counters.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <map>
#include <tuple>

namespace pagelab::emu {
namespace {

constexpr std::uint32_t kMaxRows = 1024;
constexpr std::uintptr_t kSector = 32;
constexpr std::uintptr_t kBanks = 32;
constexpr std::uintptr_t kWord = 4;

double ratio(std::uint64_t cost, std::uint64_t ideal) {
  return ideal == 0 ? 1.0 : static_cast<double>(cost) / static_cast<double>(ideal);
}

double ratio(const LineCount& line) {
  return std::max(ratio(line.sectors, line.ideal_sectors), ratio(line.wavefronts, line.ideal_wavefronts));
}

const char* name_of(Access kind) {
  return kind == Access::read ? "read" : kind == Access::write ? "write" : "atomic";
}

/// The words of one pass over the banks.
struct Banks {
  std::array<std::uintptr_t, 32> words;
  std::size_t count = 0;
  std::array<std::uint8_t, kBanks> depth{};
  std::array<std::uintptr_t, kBanks> first;

  void touch(std::uintptr_t word) {
    const std::size_t bank = word % kBanks;
    if (depth[bank] == 0) {
      first[bank] = word;
    } else if (first[bank] == word ||
               std::find(words.begin(), words.begin() + count, word) != words.begin() + count) {
      return;  // one word serves all lanes that want it
    }
    words[count++] = word;
    ++depth[bank];
  }
};

}  // namespace

void AccessCounters::launch_begins(std::uint64_t threads_per_block) {
  for (Warp& warp : warps_) {
    for (const std::uint32_t index : warp.busy) {
      warp.traces[index]->next.fill(0);
      warp.traces[index]->used = 0;
    }
    warp.busy.clear();
  }
  warps_.resize(std::max<std::size_t>(warps_.size(), (threads_per_block + 31) / 32));
}

void AccessCounters::record(const Thread& thread, SiteId site, Access kind, bool shared,
                            std::uintptr_t address, std::size_t bytes) {
  Warp& warp = warps_[thread.warp];
  const std::uint32_t index = index_of(site, kind, shared);
  if (index >= warp.traces.size()) {
    warp.traces.resize(index + 1);
  }
  if (!warp.traces[index]) {
    warp.traces[index] = std::make_unique<Trace>();
  }
  Trace& trace = *warp.traces[index];
  const std::uint32_t row = trace.next[thread.lane];
  if (row == kMaxRows) {
    return;
  }
  if (row == trace.used) {
    if (row == 0) {
      warp.busy.push_back(index);
      trace.bytes = static_cast<std::uint32_t>(bytes);
    }
    if (row == trace.rows.size()) {
      trace.rows.emplace_back();
    }
    trace.rows[row].active = 0;
    ++trace.used;
  }
  trace.rows[row].active |= 1u << thread.lane;
  trace.rows[row].address[thread.lane] = address;
  ++trace.next[thread.lane];
}

void AccessCounters::converged() {
  for (std::uint32_t warp = 0; warp < warps_.size(); ++warp) {
    converged(warp);
  }
}

void AccessCounters::converged(std::uint32_t warp_index) {
  Warp& warp = warps_[warp_index];
  for (const std::uint32_t index : warp.busy) {
    if (index >= counts_.size()) {
      counts_.resize(index + 1);
    }
    Trace& trace = *warp.traces[index];
    for (std::uint32_t row = 0; row < trace.used; ++row) {
      if (index % 2 == 0) {
        count_sectors(trace.rows[row], trace.bytes, counts_[index]);
      } else {
        count_wavefronts(trace.rows[row], trace.bytes, counts_[index]);
      }
    }
    trace.next.fill(0);
    trace.used = 0;
  }
  warp.busy.clear();
}

void AccessCounters::count_sectors(const Row& row, std::size_t bytes, Count& count) {
  std::array<std::uintptr_t, 32> sectors;
  std::array<std::uint32_t, 32> touched;  // bytes of each, a bit each
  std::size_t found = 0;
  for (std::uint32_t rest = row.active; rest != 0; rest &= rest - 1) {
    const std::uintptr_t address = row.address[static_cast<unsigned>(std::countr_zero(rest))];
    const std::uint32_t mask = ((1u << bytes) - 1) << (address % kSector);
    std::size_t at = found;  // neighbours mostly share the latest
    while (at != 0 && sectors[at - 1] != address / kSector) {
      --at;
    }
    if (at == 0) {
      sectors[found] = address / kSector;
      touched[found] = 0;
      at = ++found;
    }
    touched[at - 1] |= mask;
  }
  std::uint64_t wanted = 0;
  for (std::size_t at = 0; at < found; ++at) {
    wanted += static_cast<std::uint64_t>(std::popcount(touched[at]));
  }
  ++count.requests;
  count.lanes += static_cast<std::uint64_t>(std::popcount(row.active));
  count.cost += found;
  count.ideal += (wanted + kSector - 1) / kSector;
}

void AccessCounters::count_wavefronts(const Row& row, std::size_t bytes, Count& count) {
  const std::uint32_t lanes = bytes <= 4 ? 32 : static_cast<std::uint32_t>(128 / bytes);  // of one pass
  for (std::uint32_t first = 0; first < 32; first += lanes) {
    Banks banks;
    for (std::uint32_t lane = first; lane < first + lanes; ++lane) {
      if ((row.active >> lane & 1) != 0) {
        for (std::uintptr_t word = row.address[lane] / kWord; word * kWord < row.address[lane] + bytes;
             ++word) {
          banks.touch(word);
        }
      }
    }
    count.cost += *std::max_element(banks.depth.begin(), banks.depth.end());
    count.ideal += (banks.count + kBanks - 1) / kBanks;
  }
  ++count.requests;
  count.lanes += static_cast<std::uint64_t>(std::popcount(row.active));
}

void AccessCounters::reset() {
  counts_.clear();
}

std::vector<LineCount> AccessCounters::lines(SiteTable& sites) const {
  std::map<std::tuple<std::string, int, Access>, LineCount> table;
  for (std::uint32_t index = 0; index < counts_.size(); ++index) {
    const Count& count = counts_[index];
    if (count.requests == 0) {
      continue;
    }
    const SiteTable::Place& place = sites.place(index / 6);
    const auto kind = static_cast<Access>(index / 2 % 3);
    LineCount& line = table[{place.file, place.line, kind}];
    line.file = place.file;
    line.line = place.line;
    line.kind = kind;
    line.requests += count.requests;
    line.lanes += count.lanes;
    (index % 2 == 0 ? line.sectors : line.wavefronts) += count.cost;
    (index % 2 == 0 ? line.ideal_sectors : line.ideal_wavefronts) += count.ideal;
  }
  std::vector<LineCount> lines;
  for (auto& [key, line] : table) {
    lines.push_back(std::move(line));
  }
  return lines;
}

std::string format_counters(const std::vector<LineCount>& lines) {
  std::vector<LineCount> sorted = lines;
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const LineCount& a, const LineCount& b) { return ratio(a) > ratio(b); });
  std::string text = "  requests  lanes   sectors     ideal ratio  wavefronts     ideal ratio  access line\n";
  for (const LineCount& line : sorted) {
    std::array<char, 160> row{};
    std::snprintf(row.data(), row.size(), "%10llu %6.2f %9llu %9llu %5.2f %11llu %9llu %5.2f  %-6s ",
                  static_cast<unsigned long long>(line.requests), ratio(line.lanes, line.requests),
                  static_cast<unsigned long long>(line.sectors),
                  static_cast<unsigned long long>(line.ideal_sectors),
                  ratio(line.sectors, line.ideal_sectors), static_cast<unsigned long long>(line.wavefronts),
                  static_cast<unsigned long long>(line.ideal_wavefronts),
                  ratio(line.wavefronts, line.ideal_wavefronts), name_of(line.kind));
    text += row.data() + line.file + ":" + std::to_string(line.line) + "\n";
  }
  return text;
}

}  // namespace pagelab::emu
