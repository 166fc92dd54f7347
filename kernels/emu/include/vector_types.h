// Stand-in for CUDA's vector_types.h and vector_functions.h: short vectors and dim3 with CUDA's layout.
#pragma once

#define PAGELAB_VECTORS(element, name, align2, align4)                        \
  struct name##1 {                                                            \
    element x;                                                                \
  };                                                                          \
  struct alignas(align2) name##2 {                                            \
    element x, y;                                                             \
  };                                                                          \
  struct name##3 {                                                            \
    element x, y, z;                                                          \
  };                                                                          \
  struct alignas(align4) name##4 {                                            \
    element x, y, z, w;                                                       \
  };                                                                          \
  inline name##1 make_##name##1(element x) {                                  \
    return {x};                                                               \
  }                                                                           \
  inline name##2 make_##name##2(element x, element y) {                       \
    return {x, y};                                                            \
  }                                                                           \
  inline name##3 make_##name##3(element x, element y, element z) {            \
    return {x, y, z};                                                         \
  }                                                                           \
  inline name##4 make_##name##4(element x, element y, element z, element w) { \
    return {x, y, z, w};                                                      \
  }

PAGELAB_VECTORS(signed char, char, 2, 4)
PAGELAB_VECTORS(unsigned char, uchar, 2, 4)
PAGELAB_VECTORS(short, short, 4, 8)
PAGELAB_VECTORS(unsigned short, ushort, 4, 8)
PAGELAB_VECTORS(int, int, 8, 16)
PAGELAB_VECTORS(unsigned, uint, 8, 16)
PAGELAB_VECTORS(long long, longlong, 16, 16)
PAGELAB_VECTORS(unsigned long long, ulonglong, 16, 16)
PAGELAB_VECTORS(float, float, 8, 16)
PAGELAB_VECTORS(double, double, 16, 16)

#undef PAGELAB_VECTORS

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
  constexpr dim3(uint3 size) : x(size.x), y(size.y), z(size.z) {}
  constexpr operator uint3() const { return {x, y, z}; }
};
