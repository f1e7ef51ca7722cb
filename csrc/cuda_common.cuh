// What the CUDA kernels share: launch errors, packs of numbers, sums in a fixed order.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <stdexcept>
#include <string>

#include "kernels.h"

namespace vaebias::cuda {

inline void check(cudaError_t error, const char* what) {
  if (error != cudaSuccess) {
    throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(error));
  }
}

// A refused launch (too many threads, too much shared memory) is known at once, without a sync.
inline void check_launch(const char* kernel) { check(cudaGetLastError(), kernel); }

inline cudaStream_t native(Stream stream) { return static_cast<cudaStream_t>(stream); }

// One thread an item, in blocks of `threads`; grid.x reaches 2^31 - 1 blocks, and more would wrap.
inline unsigned blocks_for(std::int64_t items, int threads) {
  const std::int64_t blocks = (items + threads - 1) / threads;
  if (blocks > 2147483647) {
    throw std::runtime_error(std::to_string(blocks) +
                             " blocks, more than a launch takes (2147483647): split the batch");
  }
  return static_cast<unsigned>(blocks);
}

// Numbers that lie together and are read or written at once.
template <class T, int n>
struct alignas(sizeof(T) * n < 16 ? sizeof(T) * n : 16) Pack {
  T value[n];
};

template <int n, class T>
bool is_aligned(const T* pointer) {
  return reinterpret_cast<std::uintptr_t>(pointer) % alignof(Pack<T, n>) == 0;
}

// The first `count` of n numbers, zeros after them; all n at once where `packed`.
template <bool packed, int n, class T>
__device__ inline Pack<T, n> load_pack(const T* from, int count) {
  if constexpr (packed) {
    return *reinterpret_cast<const Pack<T, n>*>(from);
  } else {
    Pack<T, n> result;
#pragma unroll
    for (int i = 0; i < n; ++i) result.value[i] = i < count ? from[i] : T{};
    return result;
  }
}

// A pack of 8 or 16 bytes leaves as a vector; the compiler splits a struct's store.
template <class T, int n>
__device__ inline void store_vector(T* to, const Pack<T, n>& pack) {
  static_assert(sizeof(pack) == sizeof(float4) || sizeof(pack) == sizeof(float2));
  if constexpr (sizeof(pack) == sizeof(float2)) {
    __stcs(reinterpret_cast<float2*>(to), *reinterpret_cast<const float2*>(pack.value));
  } else if constexpr (sizeof(T) == sizeof(float)) {
    const T* const v = pack.value;
    __stcs(reinterpret_cast<float4*>(to), make_float4(v[0], v[1], v[2], v[3]));
  } else {
    __stcs(reinterpret_cast<double2*>(to), make_double2(pack.value[0], pack.value[1]));
  }
}

template <bool packed, class T, int n>
__device__ inline void store_pack(T* to, const Pack<T, n>& pack, int count) {
  if constexpr (packed) {
    store_vector(to, pack);
  } else {
#pragma unroll
    for (int i = 0; i < n; ++i) {
      if (i < count) to[i] = pack.value[i];
    }
  }
}

__device__ inline std::int64_t global_thread() {
  return static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

// Sum over a warp, for every lane.
__device__ inline double warp_sum(double value) {
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(0xffffffffu, value, step);
  return value;
}

// The largest of a warp, for every lane; NaN counts for nothing.
template <class T>
__device__ inline T warp_max(T value) {
  for (int step = 16; step > 0; step /= 2) {
    value = fmax(value, __shfl_xor_sync(0xffffffffu, value, step));
  }
  return value;
}

// Sum over a block, the same order in every launch: lanes by halving, then warps in turn.
// `scratch` holds 32 doubles in shared memory; the result is thread 0's.
__device__ inline double block_sum(double value, double* scratch) {
  for (int step = 16; step > 0; step /= 2) value += __shfl_down_sync(0xffffffffu, value, step);
  const int warp = threadIdx.x / 32;
  __syncthreads();  // scratch may still be read from an earlier sum
  if (threadIdx.x % 32 == 0) scratch[warp] = value;
  __syncthreads();
  if (threadIdx.x == 0) {
    value = 0;
    for (unsigned w = 0; w < (blockDim.x + 31) / 32; ++w) value += scratch[w];
  }
  return value;
}

// Column pair number `pair` of the lower triangle: a >= b.
__device__ inline void pair_of(int pair, int* a, int* b) {
  int row = static_cast<int>((sqrtf(8.0f * pair + 1.0f) - 1.0f) / 2.0f);
  while (row * (row + 1) / 2 > pair) --row;
  while ((row + 1) * (row + 2) / 2 <= pair) ++row;
  *a = row;
  *b = pair - row * (row + 1) / 2;
}

}  // namespace vaebias::cuda
