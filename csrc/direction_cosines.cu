// Cosines between decoder columns and principal components on CUDA: a block takes up to 32 of each
// at one point and reads them once, a tile at a time in shared memory; products and squares add
// up in double and are divided without leaving the chip.
#include <cmath>
#include <type_traits>

#include "column_products.cuh"

namespace vaebias::cuda {
namespace {

constexpr int kSide = kMaxColumns / 2;

// The power of two that brings a column's largest entry near one; by one warp, for every lane.
template <class Load>
__device__ double scale_of(std::int64_t P, const Load& load) {
  double largest = 0;
  for (std::int64_t p = threadIdx.x % 32; p < P; p += 32) largest = fmax(largest, fabs(load(p)));
  for (int step = 16; step > 0; step /= 2) {
    largest = fmax(largest, __shfl_xor_sync(0xffffffffu, largest, step));
  }
  if (largest == 0 || !isfinite(largest)) return 1;
  return ldexp(1.0, min(max(-ilogb(largest), -1000), 1000));
}

// Bytes for any tile of at most so many blocks of columns: those at the edge have a shape of their
// own.
std::size_t largest_tile(int across, int down) {
  std::size_t most = 0;
  for (int x = 0; x <= across; ++x) {
    for (int y = 0; y <= down; ++y) {
      const std::size_t bytes = tile_bytes(kBlock * (x + y), x * y + x + y);
      most = bytes > most ? bytes : most;
    }
  }
  return most;
}

template <class T>
__global__ void cosines_kernel(const T* jacobian, bool latents_first, const T* components,
                               std::int64_t P, std::int64_t d, std::int64_t k, T* cosines,
                               T* norms) {
  extern __shared__ double tile[];
  __shared__ double products[kSide * kSide];
  __shared__ double squares[kMaxColumns];
  __shared__ double scale[kMaxColumns];
  const std::int64_t bands = (d + kSide - 1) / kSide > 0 ? (d + kSide - 1) / kSide : 1;
  const std::int64_t strips = (k + kSide - 1) / kSide > 0 ? (k + kSide - 1) / kSide : 1;
  const std::int64_t b = blockIdx.x / (bands * strips);
  const std::int64_t i0 = blockIdx.x / strips % bands * kSide, a0 = blockIdx.x % strips * kSide;
  const int m = static_cast<int>(min(static_cast<std::int64_t>(kSide), d - i0));
  const int n = static_cast<int>(min(static_cast<std::int64_t>(kSide), k - a0));
  const T* const decoder = jacobian + b * P * d;
  const T* const principal = components + (b * k + a0) * P;
  const auto column = [&](int i, std::int64_t p) {
    return static_cast<double>(latents_first ? decoder[(i0 + i) * P + p] : decoder[p * d + i0 + i]);
  };
  const auto component = [&](int a, std::int64_t p) {
    return static_cast<double>(principal[a * P + p]);
  };
  // Blocks of decoder columns against components, then of each against themselves for the squares.
  const int across = blocks_of(m), down = blocks_of(n), both = across * down;
  const auto block_of = [&](int task) {
    if (task < both) return PairBlock{task / down, across, kBlock * across + task % down, down};
    const int own = task - both, other = own - across;
    if (own < across) return PairBlock{own, across, own, across};
    return PairBlock{kBlock * across + other, down, kBlock * across + other, down};
  };
  const auto sum_products = [&] {
    products_of_columns(
        both + across + down, kBlock * (across + down), P, tile, block_of,
        [&](std::int64_t first, int width, int stride) {
          load_tile(m, width, !latents_first, stride, tile,
                    [&](int i, int p) { return column(i, first + p) * scale[i]; });
          load_tile(n, width, false, stride, tile + kBlock * across * stride,
                    [&](int a, int p) { return component(a, first + p) * scale[m + a]; });
        },
        [&](int task, int r, int c, double sum) {
          const PairBlock block = block_of(task);
          const bool of_components = block.x >= kBlock * across;
          const int i = of_components ? m + block.x - kBlock * across + r * down
                                      : block.x + r * across;
          if (i >= (of_components ? m + n : m)) return;
          if (task >= both) {
            if (r == c) squares[i] = sum;
          } else if (const int a = block.y - kBlock * across + c * down; a < n) {
            products[i * n + a] = sum;
          }
        });
  };

  for (int c = static_cast<int>(threadIdx.x); c < m + n; c += kGramThreads) scale[c] = 1;
  __syncthreads();
  sum_products();
  if constexpr (std::is_same_v<T, double>) {  // squares of floats are always within the range of
                                              // double
    bool scaled = false;
    for (int c = static_cast<int>(threadIdx.x) / 32; c < m + n; c += kGramThreads / 32) {
      if (squares[c] > 1e-280 && squares[c] < 1e280) continue;
      const double factor = c < m
                                ? scale_of(
                                      P, [&](std::int64_t p) { return column(c, p); })
                                : scale_of(P, [&](std::int64_t p) { return component(c - m, p); });
      if (threadIdx.x % 32 == 0) scale[c] = factor;
      scaled = scaled || factor != 1;
    }
    if (__syncthreads_or(scaled)) sum_products();
  }
  for (int c = static_cast<int>(threadIdx.x); c < m + n; c += kGramThreads) {
    squares[c] = sqrt(squares[c]);
    const T norm = static_cast<T>(squares[c] / scale[c]);
    if (c < m && a0 == 0) norms[b * (d + k) + i0 + c] = norm;
    if (c >= m && i0 == 0) norms[b * (d + k) + d + a0 + c - m] = norm;
  }
  __syncthreads();
  for (int at = static_cast<int>(threadIdx.x); at < m * n; at += kGramThreads) {
    const int i = at / n, a = at % n;
    const double both = squares[i] * squares[m + a];
    double cosine = both == 0 ? 0.0 : products[at] / both;
    if (cosine > 1) cosine = 1;  // so written, NaN stays NaN
    if (cosine < -1) cosine = -1;
    cosines[(b * d + i0 + i) * k + a0 + a] = static_cast<T>(cosine);
  }
}

}  // namespace

template <class T>
void direction_cosines(const T* jacobian, bool latents_first, const T* components, std::int64_t B,
                       std::int64_t P, std::int64_t d, std::int64_t k, T* cosines, T* norms,
                       Stream stream) {
  if (B == 0 || d + k == 0) return;
  const auto parts = [](std::int64_t count) {
    return count > kSide ? (count + kSide - 1) / kSide : 1;
  };
  const auto side = [](std::int64_t count) { return count < kSide ? count : kSide; };
  const int across = blocks_of(static_cast<int>(side(d)));
  const int down = blocks_of(static_cast<int>(side(k)));
  const std::size_t shared = largest_tile(across, down);
  cosines_kernel<<<blocks_for(B * parts(d) * parts(k), 1), kGramThreads, shared,
                   native(stream)>>>(jacobian, latents_first, components, P, d, k, cosines, norms);
  check_launch("direction_cosines");
}

VAEBIAS_FLOAT_AND_DOUBLE(direction_cosines)

}  // namespace vaebias::cuda
