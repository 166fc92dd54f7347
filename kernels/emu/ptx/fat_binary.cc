#include "kernels/emu/ptx/fat_binary.h"

#include <cstdint>
#include <cstring>
#include <stdexcept>

namespace pagelab::emu::ptx {
namespace {

constexpr std::uint32_t kWrapperMagic = 0x466243b1;
constexpr std::uint32_t kImageMagic = 0xba55ed50;
constexpr std::uint16_t kKindPtx = 1;
constexpr std::uint64_t kCompressed = 0xa000;  // flag bits: LZ4 0x2000, zstd 0x8000

struct Wrapper {
  std::uint32_t magic;
  std::uint32_t version;
  const std::byte* image;
  const void* more;
};

struct ImageHeader {
  std::uint32_t magic;
  std::uint16_t version;
  std::uint16_t header_bytes;
  std::uint64_t payload_bytes;
};

// What precedes each text or cubin of an image. NVIDIA documents no layout; these fields are those of version
// 1.01, as fatbinary of CUDA 11 to 13 writes them.
struct EntryHeader {
  std::uint16_t kind;
  std::uint16_t version;
  std::uint32_t header_bytes;
  std::uint64_t payload_bytes;
  std::uint32_t compressed_bytes;
  std::uint32_t options_offset;
  std::uint32_t ptx_version;
  std::uint32_t architecture;
  std::uint32_t name_offset;
  std::uint32_t name_bytes;
  std::uint64_t flags;
  std::uint64_t reserved;
  std::uint64_t expanded_bytes;
};
static_assert(sizeof(EntryHeader) == 64);

template <class T>
T read(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

}  // namespace

std::vector<EmbeddedText> embedded_ptx(const void* wrapper) {
  const auto outer = read<Wrapper>(static_cast<const std::byte*>(wrapper));
  if (outer.magic != kWrapperMagic) {
    throw std::runtime_error("not a fat binary: its magic number is wrong");
  }
  const auto image = read<ImageHeader>(outer.image);
  if (image.magic != kImageMagic) {
    throw std::runtime_error("the image of a fat binary has the wrong magic number");
  }
  std::vector<EmbeddedText> texts;
  const std::byte* at = outer.image + image.header_bytes;
  const std::byte* end = at + image.payload_bytes;
  while (at < end) {
    const auto entry = read<EntryHeader>(at);
    if (entry.kind == kKindPtx) {
      if ((entry.flags & kCompressed) != 0) {
        throw std::runtime_error("the PTX of a fat binary is compressed: compile with nvcc --no-compress");
      }
      const auto* text = reinterpret_cast<const char*>(at + entry.header_bytes);
      EmbeddedText found;
      if (entry.name_offset != 0) {
        found.name.assign(reinterpret_cast<const char*>(at + entry.name_offset), entry.name_bytes);
      }
      found.text = {text, ::strnlen(text, entry.payload_bytes)};
      texts.push_back(found);
    }
    at += entry.header_bytes + entry.payload_bytes;
  }
  if (texts.empty()) {
    throw std::runtime_error("a fat binary holds no PTX: compile for a virtual architecture (compute_80)");
  }
  return texts;
}

}  // namespace pagelab::emu::ptx
