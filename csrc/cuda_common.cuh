// What the CUDA kernels share: launch errors, sums in a fixed order, Grams of shared-memory tiles.
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

// One thread an item, in blocks of `threads`; grid.x alone reaches 2^31 - 1 blocks.
inline unsigned blocks_for(std::int64_t items, int threads) {
  return static_cast<unsigned>((items + threads - 1) / threads);
}

__device__ inline std::int64_t global_thread() {
  return static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
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

constexpr int kGramThreads = 256;
constexpr int kGramTile = 64;
constexpr int kMaxColumns = 64;
constexpr int kMaxPairs = (kMaxColumns * (kMaxColumns + 1) / 2 + kGramThreads - 1) / kGramThreads;

// Column pair number `pair` of the lower triangle: a >= b.
__device__ inline void pair_of(int pair, int* a, int* b) {
  int row = static_cast<int>((sqrtf(8.0f * pair + 1.0f) - 1.0f) / 2.0f);
  while (row * (row + 1) / 2 > pair) --row;
  while ((row + 1) * (row + 2) / 2 <= pair) ++row;
  *a = row;
  *b = pair - row * (row + 1) / 2;
}

// Products of d <= 64 columns of P numbers, by one block of kGramThreads, in double: each tile of
// columns is read once into shared memory; where there are fewer pairs than threads, several
// threads take slices of a pair's tile, added up in order at the end.
//   tile  [d, kGramTile] shared; slices [kGramThreads] shared
//   load(i, p): column i at pixel p; pixel_major: neighbours in memory are columns, not pixels
//   emit(a, b, sum): called once a pair, a >= b
template <class Load, class Emit>
__device__ void gram_of_columns(int d, std::int64_t P, bool pixel_major, double* tile,
                                double* slices, const Load& load, const Emit& emit) {
  const int pairs = d * (d + 1) / 2;
  const int split = pairs < kGramThreads ? kGramThreads / max(pairs, 1) : 1;
  const int slice = static_cast<int>(threadIdx.x) / max(pairs, 1);
  double sums[kMaxPairs] = {};
  for (std::int64_t first = 0; first < P; first += kGramTile) {
    const int width = static_cast<int>(P - first < kGramTile ? P - first : kGramTile);
    for (int at = static_cast<int>(threadIdx.x); at < d * width; at += kGramThreads) {
      const int i = pixel_major ? at % d : at / width;
      const int p = pixel_major ? at / d : at % width;
      tile[i * kGramTile + p] = load(i, first + p);
    }
    __syncthreads();
    if (split > 1) {
      if (slice < split) {
        int a, b;
        pair_of(static_cast<int>(threadIdx.x) % pairs, &a, &b);
        for (int p = slice; p < width; p += split) {
          sums[0] += tile[a * kGramTile + p] * tile[b * kGramTile + p];
        }
      }
    } else {
#pragma unroll
      for (int turn = 0; turn < kMaxPairs; ++turn) {
        const int pair = static_cast<int>(threadIdx.x) + turn * kGramThreads;
        if (pair < pairs) {
          int a, b;
          pair_of(pair, &a, &b);
          for (int p = 0; p < width; ++p) {
            sums[turn] += tile[a * kGramTile + p] * tile[b * kGramTile + p];
          }
        }
      }
    }
    __syncthreads();
  }
  if (split > 1) {
    slices[threadIdx.x] = sums[0];
    __syncthreads();
    if (static_cast<int>(threadIdx.x) < pairs) {
      double sum = 0;
      for (int s = 0; s < split; ++s) sum += slices[s * pairs + threadIdx.x];
      int a, b;
      pair_of(static_cast<int>(threadIdx.x), &a, &b);
      emit(a, b, sum);
    }
  } else {
#pragma unroll
    for (int turn = 0; turn < kMaxPairs; ++turn) {
      const int pair = static_cast<int>(threadIdx.x) + turn * kGramThreads;
      if (pair < pairs) {
        int a, b;
        pair_of(pair, &a, &b);
        emit(a, b, sums[turn]);
      }
    }
  }
  __syncthreads();
}

}  // namespace vaebias::cuda
