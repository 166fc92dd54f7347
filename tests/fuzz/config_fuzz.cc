// Any text is a valid config.json or refused with InputError; the numbers of an accepted shape do not
// overflow.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "core/error.h"
#include "models/shape.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const pagelab::ModelShape shape =
        pagelab::parse_shape(std::string_view(reinterpret_cast<const char*>(data), size), "input");
    if (shape.parameters() <= 0 || shape.head_size <= 0 || shape.heads % shape.kv_heads != 0) {
      std::abort();
    }
  } catch (const pagelab::InputError&) {
  }
  return 0;
}
