// Products of columns of pixels on CUDA, summed in double. Columns go from global memory straight
// into registers, every number is converted once, and tensor cores multiply: there is no tile in
// shared memory, and no barrier until warps add up what they have. Lane 4 r + q holds pixels of
// column r of a group of eight. Which pixels is free, as long as the order of a sum is fixed: each
// lane takes those that load best.
#pragma once

#include <type_traits>

#include "constants.h"
#include "cuda_common.cuh"
#include "host_device.h"

namespace vaebias::cuda {

constexpr int kProductWarps = 4;
constexpr int kProductThreads = 32 * kProductWarps;
constexpr int kProductBlocks = 4;  // on a multiprocessor, at least: 128 registers a thread

constexpr int kGroup = 8;  // columns
constexpr int kQuad = 4;   // pixels of a lane, and lanes of a column
constexpr int kTile = kGroup * kGroup;

// Adds x^T y over 16 pixels: sums[c] is the product of column lane / 4 of x and column
// 2 (lane % 4) + c of y.
__device__ inline void multiply(const double (&x)[kQuad], const double (&y)[kQuad],
                                double (&sums)[2]) {
#if __CUDA_ARCH__ >= 800
#pragma unroll
  for (int e = 0; e < kQuad; ++e) {
    asm volatile("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%0, %1}, {%2}, {%3}, {%0, %1};"
                 : "+d"(sums[0]), "+d"(sums[1])
                 : "d"(x[e]), "d"(y[e]));
  }
#else  // without such tensor cores lanes show each other their pixels
  constexpr int pixels = kQuad * kQuad;
  __shared__ double shown[kProductWarps][2][pixels * kGroup];
  double(&own)[2][pixels * kGroup] = shown[threadIdx.x / 32];
  const int column = static_cast<int>(threadIdx.x) % 32 / kQuad;
  const int quarter = static_cast<int>(threadIdx.x) % kQuad;
  __syncwarp();  // every lane has read what was shown before
  for (int e = 0; e < kQuad; ++e) {
    const int pixel = e * kQuad + quarter;
    own[0][pixel * kGroup + column] = x[e];
    own[1][pixel * kGroup + column] = y[e];
  }
  __syncwarp();
#pragma unroll 4
  for (int pixel = 0; pixel < pixels; ++pixel) {
    const double of_x = own[0][pixel * kGroup + column];
    const double* const of_y = own[1] + pixel * kGroup + 2 * quarter;
    sums[0] += of_x * of_y[0];
    sums[1] += of_x * of_y[1];
  }
#endif
}

// The same for two groups of columns at once. Registers of the two take turns in the instruction.
__device__ inline void multiply(const double (&x0)[kQuad], const double (&x1)[kQuad],
                                const double (&y)[kQuad], double (&sums0)[2], double (&sums1)[2]) {
#if __CUDA_ARCH__ >= 900
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f64.f64.f64.f64 {%0, %1, %2, %3}, "
      "{%4, %5, %6, %7, %8, %9, %10, %11}, {%12, %13, %14, %15}, {%0, %1, %2, %3};"
      : "+d"(sums0[0]), "+d"(sums0[1]), "+d"(sums1[0]), "+d"(sums1[1])
      : "d"(x0[0]), "d"(x1[0]), "d"(x0[1]), "d"(x1[1]), "d"(x0[2]), "d"(x1[2]), "d"(x0[3]),
        "d"(x1[3]), "d"(y[0]), "d"(y[1]), "d"(y[2]), "d"(y[3]));
#else
  multiply(x0, y, sums0);
  multiply(x1, y, sums1);
#endif
}

// How a block divides columns and pixels among its lanes.
//   X, Y: groups of columns on either side of the products; Y = 0: X groups among themselves
//   folded: at most four columns; a group holds them twice, each time of 16 pixels
//   packed: a lane's pixels are neighbours and arrive as vectors; else they lie four apart, so that
//           a warp's loads meet in few lines whether columns or pixels are neighbours
template <int X_, int Y_, bool folded_, bool packed_>
struct Shape {
  static constexpr int X = X_, Y = Y_;
  static constexpr bool folded = folded_, packed = packed_;
  static constexpr int rows = folded ? kGroup / 2 : kGroup;  // columns of a group
  static constexpr int chunk = kQuad * 32 / rows;            // pixels of a group in a warp

  __device__ static int lane() { return static_cast<int>(threadIdx.x) % 32; }
  __device__ static int column() { return lane() / kQuad % rows; }
  __device__ static int pixel() {
    return lane() / (kQuad * rows) * kQuad * kQuad + lane() % kQuad * (packed ? kQuad : 1);
  }
};

// Four pixels of a lane, the first of them number p of P; zeros beyond the last, unless `whole`
// says that none is beyond. step: from pixel to pixel, 1 where packed.
template <class S, bool whole, class T>
__device__ inline Pack<T, kQuad> load_quad(const T* column, std::int64_t step, std::int64_t p,
                                           std::int64_t P) {
  Pack<T, kQuad> quad{};
  if constexpr (S::packed) {
    if (whole || p < P) quad = *reinterpret_cast<const Pack<T, kQuad>*>(column + p);
  } else {
#pragma unroll
    for (int e = 0; e < kQuad; ++e) {
      if (whole || p + e * kQuad < P) quad.value[e] = column[(p + e * kQuad) * step];
    }
  }
  return quad;
}

template <class T>
bool can_pack(std::int64_t P, const T* columns) {
  return P % kQuad == 0 && is_aligned<kQuad>(columns);
}

// `count` > 0 columns of P pixels in global memory. Where a group has more room than columns, the
// last one is read again, and its products are not looked at.
template <class S, int groups, class T>
class Columns {
 public:
  using Loaded = Pack<T, kQuad>;
  static constexpr int registers = sizeof(Loaded) / 4;

  __device__ Columns(const T* first, int count, std::int64_t P, std::int64_t column_step,
                     std::int64_t pixel_step)
      : step_(pixel_step), P_(P) {
#pragma unroll
    for (int g = 0; g < groups; ++g) {
      at_[g] = first + min(g * S::rows + S::column(), count - 1) * column_step;
    }
  }
  template <bool whole>
  __device__ Loaded load(int g, std::int64_t p) const {
    return load_quad<S, whole>(at_[g], step_, p, P_);
  }
  __device__ double number(const Loaded& loaded, int, int e) const {
    return static_cast<double>(loaded.value[e]);
  }

 private:
  const T* at_[groups];
  std::int64_t step_, P_;
};

// Sums of products of columns, as tensor cores leave them: a tile of 8 x 8 a pair of groups.
template <class S>
class Products {
 public:
  static constexpr int tiles = S::Y == 0 ? S::X * (S::X + 1) / 2 : S::X * S::Y;
  static constexpr int size = kProductWarps * tiles * kTile;

  template <int Y>
  __device__ void add(const double (&x)[S::X][kQuad], const double (&y)[Y][kQuad]) {
#pragma unroll
    for (int j = 0; j < Y; ++j) {
#pragma unroll
      for (int i = S::Y == 0 ? j : 0; i < S::X; i += 2) {
        if (i + 1 < S::X) {
          multiply(x[i], x[i + 1], y[j], sums_[tile(i, j)], sums_[tile(i + 1, j)]);
        } else {
          multiply(x[i], y[j], sums_[tile(i, j)]);
        }
      }
    }
  }
  // Each warp leaves its part in shared memory, `size` doubles.
  __device__ void store(double* parts) const {
    double* const own = parts + threadIdx.x / 32 * tiles * kTile + 2 * S::lane();
#pragma unroll
    for (int t = 0; t < tiles; ++t) {
      own[t * kTile] = sums_[t][0];
      own[t * kTile + 1] = sums_[t][1];
    }
  }
  // The product of column i of x and column j of y, i >= j where they are the same: the parts of
  // all warps, in their order.
  __device__ static double sum(const double* parts, int i, int j) {
    const int row = i % kGroup, column = j % kGroup;
    const double* at = parts + tile(i / kGroup, j / kGroup) * kTile + row * kGroup + column;
    double sum = 0;
    for (int w = 0; w < kProductWarps; ++w, at += tiles * kTile) {
      sum += *at;
      if constexpr (S::folded) sum += at[S::rows * (kGroup + 1)];
    }
    return sum;
  }

 private:
  VAEBIAS_HOST_DEVICE static constexpr int tile(int i, int j) {
    return S::Y == 0 ? i * (i + 1) / 2 + j : i * S::Y + j;
  }
  double sums_[tiles][2] = {};
};

// Adds the products of a few chunks of pixels from `first` on to `sums`. All loads are under way
// before the first product.
template <class S, int chunks, bool whole, class ColumnsX, class ColumnsY, class Sums>
__device__ void add_chunks(const ColumnsX& x, const ColumnsY& y, std::int64_t first, Sums& sums) {
  typename ColumnsX::Loaded of_x[chunks][S::X];
  typename ColumnsY::Loaded of_y[chunks][S::Y > 0 ? S::Y : 1];
#pragma unroll
  for (int c = 0; c < chunks; ++c) {
    const std::int64_t p = first + c * S::chunk + S::pixel();
#pragma unroll
    for (int g = 0; g < S::X; ++g) of_x[c][g] = x.template load<whole>(g, p);
#pragma unroll
    for (int g = 0; g < S::Y; ++g) of_y[c][g] = y.template load<whole>(g, p);
  }
#pragma unroll
  for (int c = 0; c < chunks; ++c) {
    double xs[S::X][kQuad];
#pragma unroll
    for (int g = 0; g < S::X; ++g) {
#pragma unroll
      for (int e = 0; e < kQuad; ++e) xs[g][e] = x.number(of_x[c][g], g, e);
    }
    if constexpr (S::Y == 0) {
      sums.add(xs, xs);
    } else {
      double ys[S::Y][kQuad];
#pragma unroll
      for (int g = 0; g < S::Y; ++g) {
#pragma unroll
        for (int e = 0; e < kQuad; ++e) ys[g][e] = y.number(of_y[c][g], g, e);
      }
      sums.add(xs, ys);
    }
  }
}

// Adds all P pixels of the columns x and y to `sums`; y is not looked at where S::Y = 0. Warps take
// runs of pixels in turn.
template <class S, class ColumnsX, class ColumnsY, class Sums>
__device__ void add_products(const ColumnsX& x, const ColumnsY& y, std::int64_t P, Sums& sums) {
  constexpr int most = 32 / ((S::X + S::Y) * ColumnsX::registers);
  constexpr int chunks = most > 4 ? 4 : most > 1 ? most : 1;  // of a run: what 32 registers hold
  constexpr int run = chunks * S::chunk;
  std::int64_t first = threadIdx.x / 32 * run;
  for (; first + run <= P; first += kProductWarps * run) {
    add_chunks<S, chunks, true>(x, y, first, sums);
  }
#pragma unroll 1
  for (const std::int64_t end = first + run < P ? first + run : P; first < end; first += S::chunk) {
    add_chunks<S, 1, false>(x, y, first, sums);
  }
}

// A Gram matrix of d <= 64 columns. Up to 16 a block sums all of it; above, blocks take a pair of
// bands of 16 columns each.
constexpr int kBand = 2 * kGroup;

inline int gram_blocks(int d) {
  const int bands = (d + kBand - 1) / kBand;
  return bands * (bands + 1) / 2;
}

// Calls launch(shape) with the shape for d columns.
template <class Launch>
void with_gram_shape(int d, bool packed, const Launch& launch) {
  const auto choose = [&](auto pack) {
    constexpr bool packs = decltype(pack)::value;
    if (d <= kGroup / 2) {
      launch(Shape<1, 0, true, packs>{});
    } else if (d <= kGroup) {
      launch(Shape<1, 0, false, packs>{});
    } else if (d <= kBand) {
      launch(Shape<2, 0, false, packs>{});
    } else {
      launch(Shape<2, 2, false, packs>{});
    }
  };
  packed ? choose(std::true_type{}) : choose(std::false_type{});
}

// What block `block` of gram_blocks(d) sums: emit(a, b, sum) once a pair of columns, a >= b.
//   columns(first): X groups of columns from `first` on, as Columns is
template <class S, class ColumnsFrom, class Emit>
__device__ void gram_of_columns(int d, int block, std::int64_t P, const ColumnsFrom& columns,
                                const Emit& emit) {
  __shared__ double parts[Products<S>::size];
  int x = 0, y = 0;
  if constexpr (S::Y > 0) pair_of(block, &x, &y);
  Products<S> products;
  add_products<S>(columns(x * kBand), columns(y * kBand), P, products);
  products.store(parts);
  __syncthreads();
  const int rows = min(kBand, d - x * kBand), width = min(kBand, d - y * kBand);
  for (int at = static_cast<int>(threadIdx.x); at < rows * width; at += kProductThreads) {
    const int i = at / width, j = at % width;
    if (x > y || i >= j) emit(x * kBand + i, y * kBand + j, Products<S>::sum(parts, i, j));
  }
}

}  // namespace vaebias::cuda
