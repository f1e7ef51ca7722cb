// Functions that both compilers see.
#pragma once

#ifdef __CUDACC__
#define VAEBIAS_HOST_DEVICE __host__ __device__
#define VAEBIAS_HOST_DEVICE_INLINE __host__ __device__ inline
#else
#define VAEBIAS_HOST_DEVICE
#define VAEBIAS_HOST_DEVICE_INLINE inline __attribute__((always_inline))
#endif

// On the CPU, what loops call must inline into each of their clones, or it would be compiled for
// the baseline only.
#define VAEBIAS_INLINE inline __attribute__((always_inline))
