// Numbers as arrays store them, and as CUDA kernels compute with them.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

namespace vaebias::cuda {

// Numbers that a thread takes at once: 16 bytes of T, whatever they are stored as.
template <class T>
constexpr int kPackWidth = 16 / static_cast<int>(sizeof(T));

// What is stored, as a number; bytes as a share of 255.
template <class T>
__device__ inline T widened(T stored) {
  return stored;
}
template <class T>
__device__ inline T widened(__half stored) {
  return __half2float(stored);
}
template <class T>
__device__ inline T widened(__nv_bfloat16 stored) {
  return __bfloat162float(stored);
}
template <class T>
__device__ inline T widened(std::uint8_t stored) {
  return static_cast<T>(stored) * static_cast<T>(1.0 / 255.0);
}

// The other way, to the nearest.
template <class T>
__device__ inline void narrow(T number, T* stored) {
  *stored = number;
}
__device__ inline void narrow(float number, __half* stored) { *stored = __float2half_rn(number); }
__device__ inline void narrow(float number, __nv_bfloat16* stored) {
  *stored = __float2bfloat16_rn(number);
}

}  // namespace vaebias::cuda
