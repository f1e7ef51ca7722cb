// Cosines between decoder columns and principal components on CUDA: a block takes up to 16 of each
// at one point and reads them once into registers (column_products.cuh); products and squares add
// up in double and are divided without leaving the chip.
#include <cmath>
#include <type_traits>

#include "column_products.cuh"

namespace vaebias::cuda {
namespace {

// The power of two that brings a column's largest entry near one; by one warp, for every lane.
template <class T>
__device__ double scale_of(const T* column, std::int64_t step, std::int64_t P) {
  double largest = 0;
  for (std::int64_t p = threadIdx.x % 32; p < P; p += 32) {
    largest = fmax(largest, fabs(static_cast<double>(column[p * step])));
  }
  largest = warp_max(largest);
  if (largest == 0 || !isfinite(largest)) return 1;
  return ldexp(1.0, min(max(-ilogb(largest), -1000), 1000));
}

// Products of decoder columns with components, and the squares of both.
template <class S>
struct CosineSums {
  static constexpr int groups = S::X + S::Y;
  Products<S> products;
  double squares[groups] = {};

  __device__ void add(const double (&x)[S::X][kQuad], const double (&y)[S::Y][kQuad]) {
    products.add(x, y);
#pragma unroll
    for (int e = 0; e < kQuad; ++e) {
#pragma unroll
      for (int g = 0; g < S::X; ++g) squares[g] += x[g][e] * x[g][e];
#pragma unroll
      for (int g = 0; g < S::Y; ++g) squares[S::X + g] += y[g][e] * y[g][e];
    }
  }
  // parts_of_squares: [kProductWarps, groups, kGroup]
  __device__ void store(double* parts, double* parts_of_squares) const {
    products.store(parts);
    double* const own = parts_of_squares + threadIdx.x / 32 * groups * kGroup + S::column();
#pragma unroll
    for (int g = 0; g < groups; ++g) {
      double sum = squares[g];
      for (int step = 1; step < kQuad; step *= 2) {
        sum += __shfl_xor_sync(0xffffffffu, sum, step);
      }
      if (S::lane() % kQuad == 0) own[g * kGroup] = sum;
    }
  }
  __device__ static double square(const double* parts_of_squares, int column) {
    double sum = 0;
    for (int w = 0; w < kProductWarps; ++w) sum += parts_of_squares[w * groups * kGroup + column];
    return sum;
  }
};

// Columns whose numbers are multiplied by scale[column] first.
template <class S, int groups>
struct ScaledColumns : Columns<S, groups, double> {
  double scale[groups];

  __device__ ScaledColumns(const Columns<S, groups, double>& columns, const double* scales)
      : Columns<S, groups, double>(columns) {
    for (int g = 0; g < groups; ++g) scale[g] = scales[g * kGroup + S::column()];
  }
  __device__ double number(const typename Columns<S, groups, double>::Loaded& loaded, int g,
                           int e) const {
    return loaded.value[e] * scale[g];
  }
};

// Block (point, band of decoder columns, strip of components), up to 8 S::X and 8 S::Y of them.
template <class S, class T>
__global__ void __launch_bounds__(kProductThreads, kProductBlocks)
    cosines_kernel(const T* jacobian, bool latents_first, const T* components, std::int64_t P,
                   std::int64_t d, std::int64_t k, int bands, int strips, T* cosines, T* norms) {
  using Sums = CosineSums<S>;
  constexpr int kBand = kGroup * S::X, kStrip = kGroup * S::Y, kAll = kBand + kStrip;
  __shared__ double parts[Products<S>::size];
  __shared__ double parts_of_squares[kProductWarps * kAll];
  // Of decoder columns from 0 on, of components from kBand on.
  __shared__ double lengths[kAll], scale[kAll];
  const std::int64_t b = blockIdx.x / (static_cast<std::int64_t>(bands) * strips);
  const std::int64_t i0 = blockIdx.x / strips % bands * kBand, a0 = blockIdx.x % strips * kStrip;
  const int m = static_cast<int>(min(static_cast<std::int64_t>(kBand), d - i0));
  const int n = static_cast<int>(min(static_cast<std::int64_t>(kStrip), k - a0));
  const std::int64_t column_step = latents_first ? P : 1, pixel_step = latents_first ? 1 : d;
  const T* const decoder = jacobian + b * P * d + i0 * column_step;
  const T* const principal = components + (b * k + a0) * P;
  const int thread = static_cast<int>(threadIdx.x);
  const auto is_column = [&](int c) { return c < kBand ? c < m : c - kBand < n; };

  // Where there are no columns, or no components, the others stand in: only norms are asked for.
  const auto x = m > 0 ? Columns<S, S::X, T>(decoder, m, P, column_step, pixel_step)
                       : Columns<S, S::X, T>(principal, n, P, P, 1);
  const auto y = n > 0 ? Columns<S, S::Y, T>(principal, n, P, P, 1)
                       : Columns<S, S::Y, T>(decoder, m, P, column_step, pixel_step);
  const auto sum_products = [&](const auto& columns, const auto& others) {
    Sums sums;
    add_products<S>(columns, others, P, sums);
    sums.store(parts, parts_of_squares);
    __syncthreads();
    if (thread < kAll) lengths[thread] = Sums::square(parts_of_squares, thread);
    __syncthreads();
  };
  if (thread < kAll) scale[thread] = 1;
  sum_products(x, y);
  if constexpr (std::is_same_v<T, double>) {  // squares of floats are always in double's range
    bool scaled = false;
    for (int c = thread / 32; c < kAll; c += kProductWarps) {
      if (!is_column(c) || (lengths[c] > 1e-280 && lengths[c] < 1e280)) continue;
      const T* const column = c < kBand ? decoder + c * column_step : principal + (c - kBand) * P;
      const double factor = scale_of(column, c < kBand ? pixel_step : 1, P);
      if (thread % 32 == 0) scale[c] = factor;
      scaled = scaled || factor != 1;
    }
    if (__syncthreads_or(scaled)) {
      sum_products(ScaledColumns<S, S::X>(x, scale), ScaledColumns<S, S::Y>(y, scale + kBand));
    }
  }
  if (thread < kAll && is_column(thread)) {
    const double length = sqrt(lengths[thread]);
    lengths[thread] = length;
    const T norm = static_cast<T>(length / scale[thread]);
    T* const own = norms + b * (d + k);
    if (thread < kBand && a0 == 0) own[i0 + thread] = norm;
    if (thread >= kBand && i0 == 0) own[d + a0 + thread - kBand] = norm;
  }
  __syncthreads();
  for (int at = thread; at < m * n; at += kProductThreads) {
    const int i = at / n, a = at % n;
    const double both = lengths[i] * lengths[kBand + a];
    double cosine = both == 0 ? 0.0 : Products<S>::sum(parts, i, a) / both;
    if (cosine > 1) cosine = 1;  // so written, NaN stays NaN
    if (cosine < -1) cosine = -1;
    cosines[(b * d + i0 + i) * k + a0 + a] = static_cast<T>(cosine);
  }
}

// Calls launch(shape) with one or two groups on either side.
template <class Launch>
void with_cosine_shape(std::int64_t d, std::int64_t k, bool packed, const Launch& launch) {
  const auto choose = [&](auto pack) {
    constexpr bool packs = decltype(pack)::value;
    if (d <= kGroup) {
      k <= kGroup ? launch(Shape<1, 1, false, packs>{}) : launch(Shape<1, 2, false, packs>{});
    } else {
      k <= kGroup ? launch(Shape<2, 1, false, packs>{}) : launch(Shape<2, 2, false, packs>{});
    }
  };
  packed ? choose(std::true_type{}) : choose(std::false_type{});
}

}  // namespace

template <class T>
void direction_cosines(const T* jacobian, bool latents_first, const T* components, std::int64_t B,
                       std::int64_t P, std::int64_t d, std::int64_t k, T* cosines, T* norms,
                       Stream stream) {
  if (B == 0 || d + k == 0) return;
  const auto parts = [](std::int64_t count, int size) {
    return static_cast<int>(count > size ? (count + size - 1) / size : 1);
  };
  const bool packed = latents_first && can_pack(P, jacobian) && can_pack(P, components);
  with_cosine_shape(d, k, packed, [&](auto shape) {
    using S = decltype(shape);
    const int bands = parts(d, kGroup * S::X), strips = parts(k, kGroup * S::Y);
    cosines_kernel<S, T><<<blocks_for(B * bands * strips, 1), kProductThreads, 0,
                           native(stream)>>>(jacobian, latents_first, components, P, d, k, bands,
                                             strips, cosines, norms);
  });
  check_launch("direction_cosines");
}

VAEBIAS_FLOAT_AND_DOUBLE(direction_cosines)

}  // namespace vaebias::cuda
