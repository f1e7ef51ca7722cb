// Cosines between decoder columns and principal components on the CPU: both are read once, in
// strips that stay in cache; products and squares add up in double and are divided at the end.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <type_traits>
#include <vector>

#include "kernels.h"
#include "parallel.h"
#include "simd.h"
#include "strip.h"

namespace vaebias::cpu {
namespace {

using simd::Eight;
using simd::Eights;

// strip [padded(d) + padded(k), kStrip]: columns and then components, `padded` ones of each.
// products [blocks of columns, blocks of components, kBlock, kBlock], squares [columns and
// components], eight partial sums each.
VAEBIAS_CLONES void add_products(const double* strip, std::int64_t columns, std::int64_t components,
                                 std::int64_t width, Eight* products, Eight* squares) {
  for (std::int64_t i = 0; i < columns; i += kBlock) {
    for (std::int64_t a = 0; a < components; a += kBlock, products += kBlock * kBlock) {
      add_block(strip + i * kStrip, strip + (columns + a) * kStrip, width, products);
    }
  }
  for (std::int64_t c = 0; c < columns + components; c += kBlock, squares += kBlock) {
    Eight block[kBlock];
#pragma GCC unroll 4
    for (int i = 0; i < kBlock; ++i) block[i] = squares[i];
    for (std::int64_t p = 0; p < width; p += simd::kLanes) {
#pragma GCC unroll 4
      for (int i = 0; i < kBlock; ++i) {
        const Eight x = simd::load(strip + (c + i) * kStrip + p);
        block[i] += x * x;
      }
    }
#pragma GCC unroll 4
    for (int i = 0; i < kBlock; ++i) squares[i] = block[i];
  }
}

VAEBIAS_CLONES void scale_strip(const double* scale, std::int64_t count, double* strip) {
  for (std::int64_t c = 0; c < count; ++c) {
    double* const column = strip + c * kStrip;
#pragma omp simd
    for (std::int64_t p = 0; p < kStrip; ++p) column[p] *= scale[c];
  }
}

// The power of two that brings a column's largest entry near one.
template <class T>
double scale_of(const T* column, std::int64_t P, std::int64_t stride) {
  double largest = 0;
  for (std::int64_t p = 0; p < P; ++p) {
    largest = std::max(largest, std::abs(static_cast<double>(column[p * stride])));
  }
  if (largest == 0 || !std::isfinite(largest)) return 1;
  return std::ldexp(1.0, std::clamp(-std::ilogb(largest), -1000, 1000));
}

}  // namespace

template <class T>
void direction_cosines(const T* jacobian, bool latents_first, const T* components, std::int64_t B,
                       std::int64_t P, std::int64_t d, std::int64_t k, T* cosines, T* norms,
                       int threads) {
  const std::int64_t grain =
      std::max<std::int64_t>(1, 16384 / std::max<std::int64_t>(1, P * (d + k)));
  parallel_for(B, grain, threads, [&](std::int64_t begin, std::int64_t end) {
    // Column i stands at i, component a at padded(d) + a; what pads them is zero and not used.
    const std::int64_t columns = padded(d), all = columns + padded(k);
    Eights products(columns * padded(k)), squares(all);
    std::vector<double> strip(static_cast<std::size_t>(all * kStrip));
    std::vector<double> scale(static_cast<std::size_t>(all)), norm(scale.size());

    const auto sum_products = [&](const T* decoder, const T* principal, bool scaled) {
      products.clear();
      squares.clear();
      for (std::int64_t first = 0; first < P; first += kStrip) {
        const std::int64_t width = std::min(kStrip, P - first);
        load_strip(decoder, latents_first, P, d, first, width, strip.data());
        load_strip(principal, true, P, k, first, width, strip.data() + columns * kStrip);
        if (scaled) scale_strip(scale.data(), all, strip.data());
        add_products(strip.data(), columns, padded(k), width, products.data(), squares.data());
      }
    };

    for (std::int64_t b = begin; b < end; ++b) {
      const T* const decoder = jacobian + b * P * d;
      const T* const principal = components + b * k * P;
      std::fill(scale.begin(), scale.end(), 1.0);
      sum_products(decoder, principal, false);
      if constexpr (std::is_same_v<T, double>) {  // squares of floats do not leave double's range
        bool scaled = false;
        for (std::int64_t c = 0; c < all; ++c) {
          const double square = simd::sum(squares.data()[c]);
          if (square > 1e-280 && square < 1e280) continue;
          double factor = 1;
          if (c < d) {
            factor = latents_first ? scale_of(decoder + c * P, P, 1) : scale_of(decoder + c, P, d);
          } else if (c >= columns && c < columns + k) {
            factor = scale_of(principal + (c - columns) * P, P, 1);
          }
          scale[static_cast<std::size_t>(c)] = factor;
          scaled = scaled || factor != 1;
        }
        if (scaled) sum_products(decoder, principal, true);
      }
      for (std::size_t c = 0; c < norm.size(); ++c)
        norm[c] = std::sqrt(simd::sum(squares.data()[c]));
      const auto norm_of = [&](std::int64_t c) {
        return static_cast<T>(norm[static_cast<std::size_t>(c)] /
                              scale[static_cast<std::size_t>(c)]);
      };
      for (std::int64_t i = 0; i < d; ++i) norms[b * (d + k) + i] = norm_of(i);
      for (std::int64_t a = 0; a < k; ++a) norms[b * (d + k) + d + a] = norm_of(columns + a);
      for (std::int64_t i = 0; i < d; ++i) {
        for (std::int64_t a = 0; a < k; ++a) {
          const std::int64_t block = i / kBlock * (padded(k) / kBlock) + a / kBlock;
          const std::int64_t at = (block * kBlock + i % kBlock) * kBlock + a % kBlock;
          const double both =
              norm[static_cast<std::size_t>(i)] * norm[static_cast<std::size_t>(columns + a)];
          const double cosine = simd::sum(products.data()[at]) / both;
          // std::clamp keeps a NaN.
          cosines[(b * d + i) * k + a] =
              static_cast<T>(both == 0 ? 0.0 : std::clamp(cosine, -1.0, 1.0));
        }
      }
    }
  });
}

VAEBIAS_FLOAT_AND_DOUBLE(direction_cosines)

}  // namespace vaebias::cpu
