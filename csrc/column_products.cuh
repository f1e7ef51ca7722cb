// Products of columns of pixels on CUDA, in double: a block reads each tile of columns once into
// shared memory, and its threads take blocks of 4 x 4 pairs of columns in registers.
#pragma once

#include "constants.h"
#include "cuda_common.cuh"
#include "host_device.h"

namespace vaebias::cuda {

constexpr int kGramThreads = 256;
constexpr int kBlock = 4;  // columns a side of a block of pairs

// How a tile lies in shared memory, and how many threads share a block of pairs.
struct TileShape {
  int width;   // pixels
  int split;   // threads a block, each with every split-th pixel
  int stride;  // from column to column, such that a warp's reads fall into different banks
};

// For `columns` in shared memory (a multiple of kBlock) and `tasks` blocks of pairs of them.
VAEBIAS_HOST_DEVICE inline TileShape tile_shape(int columns, int tasks) {
  TileShape shape{columns <= 16 ? 256 : (columns <= 32 ? 128 : 64), 1, 0};
  while (2 * shape.split * tasks <= kGramThreads && shape.split < 32) shape.split *= 2;
  // Neighbouring lanes hold neighbouring pixels of one column, then the same of the next column.
  shape.stride = shape.width + (shape.split < 16 ? shape.split : 1);
  return shape;
}

inline std::size_t tile_bytes(int columns, int tasks) {
  return sizeof(double) * static_cast<std::size_t>(columns) *
         static_cast<std::size_t>(tile_shape(columns, tasks).stride);
}

VAEBIAS_HOST_DEVICE inline int blocks_of(int columns) { return (columns + kBlock - 1) / kBlock; }

// Columns x + r x_step against y + c y_step for r, c < kBlock. Steps, and not neighbours, so that
// threads with neighbouring blocks read neighbouring columns.
struct PairBlock {
  int x, x_step, y, y_step;
};

// Copies `width` pixels of `count` columns into a tile, as double.
//   load(i, p): column i at pixel p of the tile; pixel_major: neighbours in memory are columns,
//   not pixels
template <class Load>
__device__ void load_tile(int count, int width, bool pixel_major, int stride, double* tile,
                          const Load& load) {
  const int thread = static_cast<int>(threadIdx.x);
  if (pixel_major) {
    const int pixels = kGramThreads / max(count, 1), columns = kGramThreads % max(count, 1);
    int p = thread / max(count, 1), i = thread % max(count, 1);
    if (count == 0) p = width;
#pragma unroll 4
    for (; p < width; p += pixels) {
      tile[i * stride + p] = load(i, p);
      i += columns;
      if (i >= count) {
        i -= count;
        ++p;
      }
    }
  } else {
    for (int i = thread / 32; i < count; i += kGramThreads / 32) {
#pragma unroll 4
      for (int p = thread % 32; p < width; p += 32) tile[i * stride + p] = load(i, p);
    }
  }
}

// The products of `tasks` blocks of pairs, over P pixels, by one block of kGramThreads.
//   block_of(task): which pairs; columns: in the tile, a multiple of kBlock
//   fill(first, width, stride): loads the tile from pixel `first` on
//   emit(task, r, c, sum): called once for each entry of each block
template <class Blocks, class Fill, class Emit>
__device__ void products_of_columns(int tasks, int columns, std::int64_t P, const double* tile,
                                    const Blocks& block_of, const Fill& fill, const Emit& emit) {
  if (tasks == 0) return;
  const TileShape shape = tile_shape(columns, tasks);
  const int task = static_cast<int>(threadIdx.x) / shape.split;
  const int slice = static_cast<int>(threadIdx.x) % shape.split;
  const PairBlock block = block_of(task < tasks ? task : 0);
  const double* const x = tile + block.x * shape.stride;
  const double* const y = tile + block.y * shape.stride;
  const int x_step = block.x_step * shape.stride, y_step = block.y_step * shape.stride;
  const bool same = x == y && x_step == y_step;  // columns against themselves are read once
  double sums[kBlock][kBlock] = {};
  for (std::int64_t first = 0; first < P; first += shape.width) {
    const int width = static_cast<int>(P - first < shape.width ? P - first : shape.width);
    fill(first, width, shape.stride);
    __syncthreads();
    for (int p = slice; p < (task < tasks ? width : 0); p += shape.split) {
      double of_x[kBlock], of_y[kBlock];
#pragma unroll
      for (int r = 0; r < kBlock; ++r) {
        of_x[r] = of_y[r] = x[r * x_step + p];
        if (!same) of_y[r] = y[r * y_step + p];
      }
#pragma unroll
      for (int r = 0; r < kBlock; ++r) {
#pragma unroll
        for (int c = 0; c < kBlock; ++c) sums[r][c] += of_x[r] * of_y[c];
      }
    }
    __syncthreads();
  }
#pragma unroll
  for (int r = 0; r < kBlock; ++r) {
#pragma unroll
    for (int c = 0; c < kBlock; ++c) {
      double sum = sums[r][c];
      for (int step = shape.split / 2; step > 0; step /= 2) {
        sum += __shfl_down_sync(0xffffffffu, sum, step);
      }
      if (slice == 0 && task < tasks) emit(task, r, c, sum);
    }
  }
  __syncthreads();
}

inline int gram_tasks(int d) { return blocks_of(d) * (blocks_of(d) + 1) / 2; }
inline std::size_t gram_bytes(int d) { return tile_bytes(blocks_of(d) * kBlock, gram_tasks(d)); }

// The Gram matrix of d <= 64 columns: emit(a, b, sum) once a pair, a >= b; load as in load_tile,
// but at pixel p of all P. tile: gram_bytes(d).
template <class Load, class Emit>
__device__ void gram_of_columns(int d, std::int64_t P, bool pixel_major, double* tile,
                                const Load& load, const Emit& emit) {
  const int side = blocks_of(d);
  const auto block_of = [&](int task) {
    PairBlock block{0, side, 0, side};
    pair_of(task, &block.x, &block.y);
    return block;
  };
  products_of_columns(
      side * (side + 1) / 2, side * kBlock, P, tile, block_of,
      [&](std::int64_t first, int width, int stride) {
        load_tile(d, width, pixel_major, stride, tile,
                  [&](int i, int p) { return load(i, first + p); });
      },
      [&](int task, int r, int c, double sum) {
        const PairBlock block = block_of(task);
        const int i = block.x + r * side, j = block.y + c * side;
        if (i >= d || j >= d || (block.x == block.y && i < j)) return;
        emit(max(i, j), min(i, j), sum);
      });
}

}  // namespace vaebias::cuda
