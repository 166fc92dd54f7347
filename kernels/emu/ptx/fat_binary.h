// Finds the PTX text in the fat binary that nvcc embeds in a host object. Only uncompressed PTX is read:
// compile with `nvcc --no-compress`. Owns nothing; the texts are views into the image.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace pagelab::emu::ptx {

/// One PTX text of an image.
struct EmbeddedText {
  std::string name;       ///< of the .cu file, as nvcc knew it; may be empty
  std::string_view text;  ///< up to the first NUL
};

/// The texts of what __cudaRegisterFatBinary is given (__fatBinC_Wrapper_t of the toolkit's
/// fatbinary_section.h). Throws std::runtime_error if it is not such a wrapper, if its PTX is compressed, or
/// if it has none.
std::vector<EmbeddedText> embedded_ptx(const void* wrapper);

}  // namespace pagelab::emu::ptx
