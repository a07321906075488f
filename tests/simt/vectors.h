// tests/simt/vectors.h — CUDA's short vectors and dim3, with the alignment they have on a device
// (CUDA C++ Programming Guide, table "Alignment Requirements").
#pragma once

#define SIMT_VECTOR2(T, name, bytes)  \
  struct alignas(bytes) name {        \
    T x, y;                           \
  };                                  \
  inline name make_##name(T x, T y) { \
    return {x, y};                    \
  }
#define SIMT_VECTOR3(T, name)              \
  struct name {                            \
    T x, y, z;                             \
  };                                       \
  inline name make_##name(T x, T y, T z) { \
    return {x, y, z};                      \
  }
#define SIMT_VECTOR4(T, name, bytes)            \
  struct alignas(bytes) name {                  \
    T x, y, z, w;                               \
  };                                            \
  inline name make_##name(T x, T y, T z, T w) { \
    return {x, y, z, w};                        \
  }

SIMT_VECTOR2(signed char, char2, 2)
SIMT_VECTOR2(unsigned char, uchar2, 2)
SIMT_VECTOR2(short, short2, 4)
SIMT_VECTOR2(unsigned short, ushort2, 4)
SIMT_VECTOR2(int, int2, 8)
SIMT_VECTOR2(unsigned int, uint2, 8)
SIMT_VECTOR2(long long, longlong2, 16)
SIMT_VECTOR2(unsigned long long, ulonglong2, 16)
SIMT_VECTOR2(float, float2, 8)
SIMT_VECTOR2(double, double2, 16)
SIMT_VECTOR3(int, int3)
SIMT_VECTOR3(unsigned int, uint3)
SIMT_VECTOR3(float, float3)
SIMT_VECTOR4(signed char, char4, 4)
SIMT_VECTOR4(unsigned char, uchar4, 4)
SIMT_VECTOR4(short, short4, 8)
SIMT_VECTOR4(unsigned short, ushort4, 8)
SIMT_VECTOR4(int, int4, 16)
SIMT_VECTOR4(unsigned int, uint4, 16)
SIMT_VECTOR4(float, float4, 16)

#undef SIMT_VECTOR2
#undef SIMT_VECTOR3
#undef SIMT_VECTOR4

struct dim3 {
  unsigned int x = 1, y = 1, z = 1;
  constexpr dim3(unsigned int x_ = 1, unsigned int y_ = 1, unsigned int z_ = 1)
      : x(x_), y(y_), z(z_) {}
  constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
};
