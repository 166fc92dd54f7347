#include "kernels/emu/check_sites.h"

#include <link.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string_view>
#include <system_error>

namespace pagelab::emu {
namespace {

/// Where the running program was loaded: what a return address is ahead of the address in its file.
std::uintptr_t load_base() {
  std::uintptr_t base = 0;
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* result) {
        *static_cast<std::uintptr_t*>(result) = info->dlpi_addr;
        return 1;  // the first one is the program itself
      },
      &base);
  return base;
}

std::string program() {
  std::error_code error;
  const std::filesystem::path path = std::filesystem::read_symlink("/proc/self/exe", error);
  return error ? std::string("the program") : path.string();
}

std::string quoted(const std::string& text) {
  std::string result = "'";
  for (const char c : text) {
    result += c == '\'' ? std::string("'\\''") : std::string(1, c);
  }
  return result + "'";
}

std::string hexadecimal(std::uintptr_t value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "0x%zx", static_cast<std::size_t>(value));
  return text.data();
}

/// What addr2line answers for `addresses` of `file`, a line each; fewer if it cannot be run.
std::vector<std::string> addr2line(const std::string& file, const std::vector<std::uintptr_t>& addresses) {
  std::string command = "addr2line -e " + quoted(file);
  for (const std::uintptr_t address : addresses) {
    command.append(" ").append(hexadecimal(address));
  }
  command += " 2>/dev/null";
  std::vector<std::string> lines;
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> pipe(popen(command.c_str(), "r"), pclose);
  std::string line;
  for (int c = pipe ? std::fgetc(pipe.get()) : EOF; c != EOF; c = std::fgetc(pipe.get())) {
    if (c != '\n') {
      line += static_cast<char>(c);
      continue;
    }
    lines.push_back(std::move(line));
    line.clear();
  }
  return lines;
}

/// "file:12" or "file:12 (discriminator 3)"; false for "??:0".
bool parse(std::string_view text, SiteTable::Place& place) {
  text = text.substr(0, text.find(" (discriminator"));
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || text.starts_with("??")) {
    return false;
  }
  place.file = std::filesystem::path(text.substr(0, colon)).lexically_normal().string();
  place.line = std::atoi(std::string(text.substr(colon + 1)).c_str());
  return place.line > 0;
}

}  // namespace

SiteTable::SiteTable() : ids_(1024) {}

std::size_t SiteTable::slot_of(const Key& key) const {
  std::uint64_t hash = key.pc * 0x9e3779b97f4a7c15u;
  hash ^= (reinterpret_cast<std::uintptr_t>(key.site.file) + static_cast<std::uint64_t>(key.site.line)) *
          0xc2b2ae3d27d4eb4fu;
  return static_cast<std::size_t>(hash >> 32) & (ids_.size() - 1);
}

SiteId SiteTable::search(std::uintptr_t pc, Site site) {
  last_ = {pc, site};
  std::size_t slot = slot_of(last_);
  for (; ids_[slot] != 0; slot = (slot + 1) & (ids_.size() - 1)) {
    const Key& key = keys_[ids_[slot] - 1];
    if (key.pc == pc && key.site == site) {
      return last_id_ = ids_[slot] - 1;
    }
  }
  if (keys_.size() == kMaxSites) {
    throw KernelError(KernelError::Kind::unsupported, "the checks know no more than 4,194,304 instructions");
  }
  keys_.push_back(last_);
  last_id_ = static_cast<SiteId>(keys_.size() - 1);
  ids_[slot] = last_id_ + 1;
  if (keys_.size() * 2 > ids_.size()) {
    grow();
  }
  return last_id_;
}

void SiteTable::grow() {
  ids_.assign(ids_.size() * 2, 0);
  for (std::size_t id = 0; id < keys_.size(); ++id) {
    std::size_t slot = slot_of(keys_[id]);
    while (ids_[slot] != 0) {
      slot = (slot + 1) & (ids_.size() - 1);
    }
    ids_[slot] = static_cast<std::uint32_t>(id + 1);
  }
}

const SiteTable::Place& SiteTable::place(SiteId id) {
  if (id >= places_.size()) {
    name_all();
  }
  return places_[id];
}

void SiteTable::name_all() {
  const std::uintptr_t base = load_base();
  const std::string file = program();
  constexpr std::size_t kBatch = 2000;  // a command line has room for them
  while (places_.size() < keys_.size()) {
    const std::size_t first = places_.size();
    const std::size_t last = std::min(first + kBatch, keys_.size());
    std::vector<std::uintptr_t> addresses;
    for (std::size_t id = first; id < last; ++id) {
      if (keys_[id].site.line == 0) {
        addresses.push_back(keys_[id].pc - 1 - base);  // inside the call that returns to pc
      }
    }
    const auto lines = addresses.empty() ? std::vector<std::string>() : addr2line(file, addresses);
    std::size_t next = 0;
    for (std::size_t id = first; id < last; ++id) {
      Place& place = places_.emplace_back(
          Place{std::filesystem::path(keys_[id].site.file).lexically_normal().string(), keys_[id].site.line});
      if (place.line == 0) {
        if (next >= lines.size() || !parse(lines[next], place)) {
          place = {file + "+" + hexadecimal(addresses[next]), 0};
        }
        ++next;
      }
    }
  }
}

}  // namespace pagelab::emu
