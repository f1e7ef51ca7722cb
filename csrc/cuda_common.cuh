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
    for (int i = 0; i < n; ++i) result.value[i] = i < count ? from[i] : T(0);
    return result;
  }
}

// A pack of 16 bytes or a multiple leaves as vectors; the compiler splits a struct's store.
template <class T, int n>
__device__ inline void store_vectors(T* to, const Pack<T, n>& pack) {
  static_assert(sizeof(pack) % sizeof(float4) == 0);
#pragma unroll
  for (int i = 0; i < static_cast<int>(sizeof(pack) / sizeof(float4)); ++i) {
    if constexpr (sizeof(T) == sizeof(float)) {
      const T* const v = pack.value + 4 * i;
      __stcs(reinterpret_cast<float4*>(to) + i, make_float4(v[0], v[1], v[2], v[3]));
    } else {
      const T* const v = pack.value + 2 * i;
      __stcs(reinterpret_cast<double2*>(to) + i, make_double2(v[0], v[1]));
    }
  }
}

template <bool packed, class T, int n>
__device__ inline void store_pack(T* to, const Pack<T, n>& pack, int count) {
  if constexpr (packed) {
    store_vectors(to, pack);
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
constexpr int kMaxPairs = (kMaxColumns * (kMaxColumns + 1) / 2 + kGramThreads - 1) / kGramThreads;

// Column pair number `pair` of the lower triangle: a >= b.
__device__ inline void pair_of(int pair, int* a, int* b) {
  int row = static_cast<int>((sqrtf(8.0f * pair + 1.0f) - 1.0f) / 2.0f);
  while (row * (row + 1) / 2 > pair) --row;
  while ((row + 1) * (row + 2) / 2 <= pair) ++row;
  *a = row;
  *b = pair - row * (row + 1) / 2;
}

// Copies `width` pixels of `count` columns into tile [count, kGramTile], as double.
//   load(i, p): column i at pixel p of the tile; pixel_major: neighbours in memory are columns,
//   not pixels
template <class Load>
__device__ void load_tile(int count, int width, bool pixel_major, double* tile, const Load& load) {
  for (int at = static_cast<int>(threadIdx.x); at < count * width; at += kGramThreads) {
    const int i = pixel_major ? at % count : at / width;
    const int p = pixel_major ? at / count : at % width;
    tile[i * kGramTile + p] = load(i, p);
  }
}

// Products of pairs of columns of P numbers, by one block of kGramThreads, in double: each tile of
// columns is read once into shared memory; where there are fewer pairs than threads, several
// threads take slices of a pair's tile, added up in order at the end.
//   columns_of(pair, &a, &b): which two, of at most kMaxColumns
//   tile  [columns, kGramTile] shared; slices [kGramThreads] shared
//   fill(first, width): loads the tile from pixel `first` on
//   emit(pair, sum): called once a pair
template <class Pair, class Fill, class Emit>
__device__ void products_of_columns(int pairs, std::int64_t P, double* tile, double* slices,
                                    const Pair& columns_of, const Fill& fill, const Emit& emit) {
  if (pairs == 0) return;
  const int split = pairs < kGramThreads ? kGramThreads / pairs : 1;
  const int slice = static_cast<int>(threadIdx.x) / pairs;
  double sums[kMaxPairs] = {};
  for (std::int64_t first = 0; first < P; first += kGramTile) {
    const int width = static_cast<int>(P - first < kGramTile ? P - first : kGramTile);
    fill(first, width);
    __syncthreads();
    if (split > 1) {
      if (slice < split) {
        int a, b;
        columns_of(static_cast<int>(threadIdx.x) % pairs, &a, &b);
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
          columns_of(pair, &a, &b);
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
      emit(static_cast<int>(threadIdx.x), sum);
    }
  } else {
#pragma unroll
    for (int turn = 0; turn < kMaxPairs; ++turn) {
      const int pair = static_cast<int>(threadIdx.x) + turn * kGramThreads;
      if (pair < pairs) emit(pair, sums[turn]);
    }
  }
  __syncthreads();
}

// Bytes of shared memory for a tile of that many columns.
inline std::size_t gram_bytes(std::int64_t columns) {
  return sizeof(double) * static_cast<std::size_t>(columns * kGramTile);
}

// The Gram matrix of d <= 64 columns: emit(a, b, sum) once a pair, a >= b; load as in load_tile,
// but at pixel p of all P.
template <class Load, class Emit>
__device__ void gram_of_columns(int d, std::int64_t P, bool pixel_major, double* tile,
                                double* slices, const Load& load, const Emit& emit) {
  products_of_columns(
      d * (d + 1) / 2, P, tile, slices, [](int pair, int* a, int* b) { pair_of(pair, a, b); },
      [&](std::int64_t first, int width) {
        load_tile(d, width, pixel_major, tile, [&](int i, int p) { return load(i, first + p); });
      },
      [&](int pair, double sum) {
        int a, b;
        pair_of(pair, &a, &b);
        emit(a, b, sum);
      });
}

}  // namespace vaebias::cuda
