// Small kernels, each right at fault 0 and wrong at others, on which the emulation itself is tested:
// a fault that it did not see would let a faulty kernel pass. Each returns the launch's error.
#include <cuda_pipeline.h>
#include <cuda_runtime.h>

namespace {

constexpr int kBlock = 64;

// Fault 1: no barrier between writing and reading. 2: the last thread writes nothing.
// 3: a barrier that half of the threads reach. 4: half of them wait elsewhere.
__global__ void reverse_kernel(const float* in, float* out, int fault) {
  __shared__ float tile[kBlock];
  const int t = static_cast<int>(threadIdx.x), at = static_cast<int>(blockIdx.x) * kBlock;
  if (fault != 2 || t < kBlock - 1) tile[t] = in[at + t];
  if (fault == 3 && t % 2 == 0) {
    __syncthreads();
  } else if (fault == 4) {
    if (t < kBlock / 2) {
      __syncthreads();
    } else {
      __syncthreads();
    }
  } else if (fault != 1 && fault != 3) {
    __syncthreads();
  }
  out[at + t] = tile[kBlock - 1 - t];
}

// Sums of warps. Fault 1: a mask of lanes that have returned. 2: a lane outside of the mask is read.
__global__ void warp_sum_kernel(const float* in, float* out, int fault) {
  const int t = static_cast<int>(threadIdx.x);
  float value = in[t];
  if (fault == 1 && t % 32 == 31) return;
  const unsigned mask = fault == 2 ? 0x0fffffffu : 0xffffffffu;
  if (fault == 2 && t % 32 >= 28) {
    out[t] = 0;
    return;
  }
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(mask, value, step);
  out[t] = value;
}

__device__ __attribute__((noinline)) float deeper(int n) {
  volatile float frame[256];
  for (int i = 255; i >= 0; --i) frame[i] = static_cast<float>(n);
  return n < 0 ? 0.0f : deeper(n + 1) + frame[n & 255];
}

// Fault 1: a read past the array. 2: a write past it. 3: a write before it. 4: the last is left out.
// 5: a division by zero. 6: more stack than there is.
__global__ void copy_kernel(const float* in, float* out, int n, int fault) {
  const int t = static_cast<int>(threadIdx.x);
  if (fault == 5) n /= n - kBlock;
  if (fault == 6) out[0] = deeper(n);
  if (t >= (fault == 4 ? n - 1 : n)) return;
  const float value = in[fault == 1 && t == n - 1 ? n : t];
  out[fault == 2 && t == n - 1 ? n : fault == 3 && t == 0 ? -1024 : t] = value;
}

// Fault 1: a write past shared memory. 2: a read past it. 3: a read of what nobody wrote.
__global__ void shared_kernel(const float* in, float* out, int fault) {
  extern __shared__ float tile[];
  const int t = static_cast<int>(threadIdx.x);
  if (fault != 3 || t > 0) tile[fault == 1 && t == kBlock - 1 ? kBlock : t] = in[t];
  __syncthreads();
  out[t] = tile[fault == 2 && t == kBlock - 1 ? kBlock : t];
}

// Copies that arrive later. Fault 1: read before they have arrived. 2: the last group is not awaited.
__global__ void async_kernel(const float* in, float* out, int fault) {
  __shared__ float tile[2 * kBlock];
  const int t = static_cast<int>(threadIdx.x);
  for (int half = 0; half < 2; ++half) {
    __pipeline_memcpy_async(tile + half * kBlock + t, in + half * kBlock + t, sizeof(float));
    __pipeline_commit();
  }
  if (fault != 1) __pipeline_wait_prior(fault == 2 ? 1 : 0);
  __syncthreads();
  for (int half = 0; half < 2; ++half) out[half * kBlock + t] = tile[half * kBlock + (t + 1) % kBlock];
}

// Each block's number, in its place. Fault 1: all in one place. 2: the last block to arrive adds up
// what others wrote, but nothing orders their writes (a matter for ThreadSanitizer).
__global__ void blocks_kernel(float* out, unsigned* arrived, int fault) {
  __shared__ bool last;
  const int blocks = static_cast<int>(gridDim.x);
  if (threadIdx.x == 0) {
    out[fault == 1 ? 0 : blockIdx.x] = static_cast<float>(blockIdx.x);
    if (fault != 2) __threadfence();
    last = atomicAdd(arrived, 1u) == gridDim.x - 1;
  }
  __syncthreads();
  if (!last || threadIdx.x > 0) return;
  if (fault != 2) __threadfence();
  float sum = 0;
  for (int b = 0; b < blocks; ++b) sum += out[b];
  out[blocks] = sum;
}

const char* latest() {
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? "" : cudaGetErrorString(error);
}

}  // namespace

#define EXAMPLE extern "C" __attribute__((visibility("default"))) const char*

EXAMPLE reverse_blocks(const float* in, float* out, int blocks, int fault) {
  reverse_kernel<<<blocks, kBlock, 0, nullptr>>>(in, out, fault);
  return latest();
}
EXAMPLE warp_sum(const float* in, float* out, int, int fault) {
  warp_sum_kernel<<<1, kBlock, 0, nullptr>>>(in, out, fault);
  return latest();
}
EXAMPLE copy(const float* in, float* out, int n, int fault) {
  copy_kernel<<<1, kBlock, 0, nullptr>>>(in, out, n, fault);
  return latest();
}
EXAMPLE shared_copy(const float* in, float* out, int, int fault) {
  shared_kernel<<<1, kBlock, kBlock * sizeof(float), nullptr>>>(in, out, fault);
  return latest();
}
EXAMPLE async_rotate(const float* in, float* out, int, int fault) {
  async_kernel<<<1, kBlock, 0, nullptr>>>(in, out, fault);
  return latest();
}
EXAMPLE number_blocks(unsigned* arrived, float* out, int blocks, int fault) {
  blocks_kernel<<<blocks, kBlock, 0, nullptr>>>(out, arrived, fault);
  return latest();
}
// Launches of a shape that a GPU refuses, or, at 0 bytes and 64 threads in one block, takes.
EXAMPLE launch_shape(int blocks, int threads, int bytes, int allowed) {
  if (allowed > 0 && cudaFuncSetAttribute(shared_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                          allowed) != cudaSuccess) {
    return "not allowed";
  }
  static float in[1024], out[1024];
  copy_kernel<<<blocks, threads, bytes, nullptr>>>(in, out, 0, 0);
  return latest();
}
EXAMPLE set_device(int device) {
  const cudaError_t error = cudaSetDevice(device);
  return error == cudaSuccess ? "" : cudaGetErrorString(error);
}
