// Any bytes are a valid safetensors file or refused with InputError; what is accepted lies within the file.
#include <cstdint>
#include <cstdlib>

#include "core/error.h"
#include "models/safetensors.h"

namespace {

void check(bool holds) {
  if (!holds) {
    std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const auto entries = pagelab::parse_safetensors(std::as_bytes(std::span(data, size)), "input");
    std::int64_t end = entries.empty() ? 0 : entries.front().begin;
    for (const pagelab::SafetensorsEntry& entry : entries) {
      check(entry.begin == end && entry.begin >= 8 && entry.size >= 0 && !entry.dtype.empty());
      end = entry.begin + entry.size;
      std::int64_t elements = 1;
      for (const std::int64_t dimension : entry.shape) {
        check(dimension >= 0);
        elements *= dimension;
      }
      check(elements <= entry.size && (elements == 0) == (entry.size == 0));
    }
    check(entries.empty() || end == static_cast<std::int64_t>(size));
  } catch (const pagelab::InputError&) {
  }
  return 0;
}
