// The part of CUDA that csrc/*.cu uses, for a C++ compiler: the threads of a block are fibers that
// run one at a time on the CPU (emulator.cpp). rewrite.py turns launches and __shared__
// declarations, which are not C++, into calls of emulated::launch and emulated::shared.
#pragma once

#include <math.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorInvalidDevice = 101,
  cudaErrorLaunchFailure = 719
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
enum cudaDeviceAttr { cudaDevAttrMaxSharedMemoryPerBlockOptin = 97 };
using cudaStream_t = struct Stream_*;

namespace emulated {

// Where a thread waits: threads that must meet have to meet at one place.
using Site = const char*;

void run(dim3 grid, dim3 block, std::size_t shared, void (*kernel)(const void*), const void* of);
void barrier(Site);
int barrier_or(Site, int);
void warp_barrier(Site, unsigned mask);
std::uint64_t shuffle(Site, unsigned mask, std::uint64_t bits, int from);
unsigned ballot(Site, unsigned mask, int);
void fence();
void copy_later(void* to, const void* from, std::size_t bytes);
void commit_copies();
void wait_for_copies(unsigned groups_left);
void* shared_memory(const void* key, std::size_t bytes, std::size_t alignment);
void* dynamic_shared_memory();
cudaError_t last_error();
cudaError_t allow_shared(int bytes);
cudaError_t set_device(int device);
int most_shared();
const char* what(cudaError_t);

inline int lane() {
  return static_cast<int>(
      (threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) % 32);
}

template <class Kernel>
void launch(dim3 grid, dim3 block, std::size_t shared, cudaStream_t, const Kernel& kernel) {
  run(grid, block, shared, [](const void* of) { (*static_cast<const Kernel*>(of))(); }, &kernel);
}
template <class T>
T& shared(const void* key) {
  return *static_cast<T*>(shared_memory(key, sizeof(T), alignof(T)));
}
template <class T>
T shuffled(Site site, unsigned mask, T value, int from) {
  static_assert(sizeof(T) <= sizeof(std::uint64_t));
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  bits = shuffle(site, mask, bits, from);
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

}  // namespace emulated

#define EMULATED_TEXT_(x) #x
#define EMULATED_TEXT(x) EMULATED_TEXT_(x)
#define EMULATED_SITE __FILE__ ":" EMULATED_TEXT(__LINE__)
#define __syncthreads() ::emulated::barrier(EMULATED_SITE)
#define __syncthreads_or(x) ::emulated::barrier_or(EMULATED_SITE, (x))
#define __syncwarp() ::emulated::warp_barrier(EMULATED_SITE, 0xffffffffu)
#define __shfl_xor_sync(mask, value, step) \
  ::emulated::shuffled(EMULATED_SITE, mask, value, ::emulated::lane() ^ (step))
#define __shfl_down_sync(mask, value, step) \
  ::emulated::shuffled(EMULATED_SITE, mask, value, ::emulated::lane() + (step))
#define __shfl_sync(mask, value, from) \
  ::emulated::shuffled(EMULATED_SITE, mask, value, (from) % 32)
#define __ballot_sync(mask, x) ::emulated::ballot(EMULATED_SITE, mask, (x))
#define __any_sync(mask, x) (::emulated::ballot(EMULATED_SITE, mask, (x)) != 0)
#define __threadfence() ::emulated::fence()

template <class T>
T atomicExch(T* at, T value) {
  return __atomic_exchange_n(at, value, __ATOMIC_RELAXED);
}
template <class T>
T atomicAdd(T* at, T value) {
  return __atomic_fetch_add(at, value, __ATOMIC_RELAXED);
}
inline unsigned atomicInc(unsigned* at, unsigned last) {
  unsigned old = __atomic_load_n(at, __ATOMIC_RELAXED);
  while (!__atomic_compare_exchange_n(at, &old, old >= last ? 0 : old + 1, false, __ATOMIC_RELAXED,
                                      __ATOMIC_RELAXED)) {
  }
  return old;
}
template <class T>
T min(T a, T b) {
  return b < a ? b : a;
}
template <class T>
T max(T a, T b) {
  return a < b ? b : a;
}
inline double rsqrt(double x) { return 1 / sqrt(x); }
inline void sincospi(double x, double* s, double* c) {
  const double turns = rint(2 * x), angle = 3.14159265358979323846 * (x - turns / 2);
  const double sine = sin(angle), cosine = cos(angle);
  switch (static_cast<std::int64_t>(turns) & 3) {
    case 0: *s = sine, *c = cosine; break;
    case 1: *s = cosine, *c = -sine; break;
    case 2: *s = -sine, *c = -cosine; break;
    default: *s = -cosine, *c = sine;
  }
}
inline void sincospif(float x, float* s, float* c) {
  double sine, cosine;
  sincospi(x, &sine, &cosine);
  *s = static_cast<float>(sine), *c = static_cast<float>(cosine);
}

// Vectors of four, and the streaming loads and stores that the kernels name.
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) double2 {
  double x, y;
};
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline double2 make_double2(double x, double y) { return {x, y}; }
template <class T>
T __ldcg(const T* at) {
  return *at;
}
template <class T>
T __ldcs(const T* at) {
  return *at;
}
template <class T>
T __ldg(const T* at) {
  return *at;
}
template <class T>
void __stcs(T* at, T value) {
  *at = value;
}
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline unsigned __float_as_uint(float x) {
  unsigned bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}
inline float __uint_as_float(unsigned bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}
inline int __float_as_int(float x) { return static_cast<int>(__float_as_uint(x)); }
inline float __int_as_float(int bits) { return __uint_as_float(static_cast<unsigned>(bits)); }
inline float __expf(float x) { return expf(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline int __dp4a(int a, int b, int sum) {
  for (int i = 0; i < 4; ++i) {
    sum += static_cast<std::int8_t>(a >> 8 * i) * static_cast<std::int8_t>(b >> 8 * i);
  }
  return sum;
}
inline unsigned __dp4a(unsigned a, unsigned b, unsigned sum) {
  for (int i = 0; i < 4; ++i) sum += (a >> 8 * i & 255) * (b >> 8 * i & 255);
  return sum;
}

inline cudaError_t cudaGetLastError() { return emulated::last_error(); }
inline const char* cudaGetErrorString(cudaError_t error) { return emulated::what(error); }
inline cudaError_t cudaSetDevice(int device) { return emulated::set_device(device); }
inline cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) {
  *value = emulated::most_shared();
  return cudaSuccess;
}
inline cudaError_t cudaMemsetAsync(void* at, int value, std::size_t bytes, cudaStream_t) {
  std::memset(at, value, bytes);
  return cudaSuccess;
}
template <class Kernel>
cudaError_t cudaFuncSetAttribute(Kernel*, cudaFuncAttribute, int bytes) {
  return emulated::allow_shared(bytes);
}

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __restrict__
#define __launch_bounds__(...)
#define __CUDACC__
#define __CUDA_ARCH__ 750
