#include "kernels/emu/tensor_core.h"

#include <algorithm>
#include <cstring>

#include "kernels/emu/float16.h"
#include "kernels/emu/machine.h"

namespace pagelab::emu {
namespace {

constexpr std::uint32_t kAllLanes = 0xffffffffu;

template <class Operand>
void require_whole_warp(std::uint32_t present, const char* kind, Operand* const (&lanes)[32]) {
  if (present != kAllLanes) {
    const Operand* one = *std::ranges::find_if(lanes, [](const Operand* lane) { return lane != nullptr; });
    detail::fail(KernelError::Kind::collective, one->site,
                 std::string(kind) + " in a warp of less than 32 threads");
  }
}

struct MatrixLoad {
  const void* row;
  std::uint32_t* fragment;
  int count;
  bool transposed;
  Site site;
};

void load(MatrixLoad* const (&lanes)[32], std::uint32_t present) {
  require_whole_warp(present, "ldmatrix", lanes);
  for (int matrix = 0; matrix < lanes[0]->count; ++matrix) {
    std::uint16_t elements[8][8];
    for (int row = 0; row < 8; ++row) {
      std::memcpy(elements[row], lanes[8 * matrix + row]->row, 16);
    }
    for (int lane = 0; lane < 32; ++lane) {
      const int row = lane / 4;
      const int col = lane % 4 * 2;
      const bool transposed = lanes[lane]->transposed;
      const std::uint32_t low = transposed ? elements[col][row] : elements[row][col];
      const std::uint32_t high = transposed ? elements[col + 1][row] : elements[row][col + 1];
      lanes[lane]->fragment[matrix] = low | high << 16;
    }
  }
}

struct Product {
  float* accumulator;
  const std::uint32_t* a;
  const std::uint32_t* b;
  MatrixElement element;
  Site site;
};

double element_of(std::uint32_t pair, int half, MatrixElement element) {
  const auto bits = static_cast<std::uint16_t>(pair >> 16 * half);
  return element == MatrixElement::f16 ? f16_to_float(bits) : bf16_to_float(bits);
}

using Row [[gnu::vector_size(64)]] = double;

void multiply(Product* const (&lanes)[32], std::uint32_t present) {
  require_whole_warp(present, "mma", lanes);
  double a[16][16];
  Row b[16];
  Row c[16];
  for (int lane = 0; lane < 32; ++lane) {
    const Product& part = *lanes[lane];
    const int group = lane / 4;
    const int pair = lane % 4 * 2;
    for (int half = 0; half < 2; ++half) {
      for (int index = 0; index < 4; ++index) {
        a[group + index % 2 * 8][pair + index / 2 * 8 + half] = element_of(part.a[index], half, part.element);
        c[group + index / 2 * 8][pair + index % 2] = part.accumulator[index];
      }
      for (int index = 0; index < 2; ++index) {
        b[pair + index * 8 + half][group] = element_of(part.b[index], half, part.element);
      }
    }
  }
  for (int row = 0; row < 16; ++row) {
    Row sum = c[row];
    for (int k = 0; k < 16; ++k) {
      sum += a[row][k] * b[k];
    }
    c[row] = sum;
  }
  for (int lane = 0; lane < 32; ++lane) {
    for (int index = 0; index < 4; ++index) {
      lanes[lane]->accumulator[index] =
          static_cast<float>(c[lane / 4 + index / 2 * 8][lane % 4 * 2 + index % 2]);
    }
  }
}

}  // namespace

void load_matrices(std::uint32_t* fragment, int count, bool transposed, const void* row, std::uintptr_t pc,
                   Site site) {
  const bool gives_row = this_thread()->lane < 8 * static_cast<std::uint32_t>(count);
  if (gives_row && (reinterpret_cast<std::uintptr_t>(row) % 16 != 0 ||
                    !detail::Machine::running()->memory().contains(row, 16))) {
    detail::fail(KernelError::Kind::illegal_address, site,
                 "ldmatrix of a row that is not 16 bytes at a multiple of 16 in shared memory");
  }
  if (Observer* watcher = observer(); watcher != nullptr && gives_row) {
    watcher->access(Access::read, row, 16, pc, site);
  }
  MatrixLoad own{row, fragment, count, transposed, site};
  const char* kinds[2][3] = {{"ldmatrix.x1", "ldmatrix.x2", "ldmatrix.x4"},
                             {"ldmatrix.x1.trans", "ldmatrix.x2.trans", "ldmatrix.x4.trans"}};
  warp_collective(kAllLanes, kinds[transposed][count / 2], site, own,
                  [](MatrixLoad* const(&lanes)[32], std::uint32_t present) { load(lanes, present); });
}

void multiply_add(float (&accumulator)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2],
                  MatrixElement element, Site site) {
  Product own{accumulator, a, b, element, site};
  warp_collective(kAllLanes, element == MatrixElement::f16 ? "mma.f16" : "mma.bf16", site, own,
                  [](Product* const(&lanes)[32], std::uint32_t present) { multiply(lanes, present); });
}

}  // namespace pagelab::emu
