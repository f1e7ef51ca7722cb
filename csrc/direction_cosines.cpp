// Cosines between decoder columns and principal components on the CPU: both are read once, in
// strips that stay in cache; products and squares add up (strip.h) and are divided at the end.
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

// Columns and components, an even number of each; products [columns, components, kLanesOfSum].
VAEBIAS_FOR_EACH_WIDTH(void, add_products,
                       (Strip<float> x, std::int64_t columns, Strip<float> y,
                        std::int64_t components, std::int64_t width, double* products),
                       add_pairs, (x, columns, y.at, components, width, products))
VAEBIAS_FOR_EACH_WIDTH(void, add_products,
                       (Strip<double> x, std::int64_t columns, Strip<double> y,
                        std::int64_t components, std::int64_t width, double* products),
                       add_pairs, (x, columns, y.at, components, width, products))

// squares [count], an even number.
template <class T>
VAEBIAS_CLONES void add_squares(const T* const* at, std::int64_t count, std::int64_t width,
                                double* squares) {
  for (std::int64_t c = 0; c < count; c += kPair) {
    const T *const x0 = at[c], *const x1 = at[c + 1];
    T sum0 = 0, sum1 = 0;
#pragma omp simd reduction(+ : sum0, sum1)
    for (std::int64_t p = 0; p < width; ++p) {
      sum0 += x0[p] * x0[p];
      sum1 += x1[p] * x1[p];
    }
    squares[c] += static_cast<double>(sum0);
    squares[c + 1] += static_cast<double>(sum1);
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
    // Column i stands at i, component a at padded(d) + a; what pads them is not used.
    const std::int64_t columns = padded(d), all = columns + padded(k);
    Columns<T, T> decoder_columns(d, P, latents_first), principal_columns(k, P, true);
    Columns<T, double> wide_decoder(d, P, latents_first), wide_principal(k, P, true);
    std::vector<double> products(static_cast<std::size_t>(columns * padded(k) * kLanesOfSum));
    std::vector<double> squares(static_cast<std::size_t>(all));
    std::vector<double> scale(squares.size()), norm(squares.size());

    const auto add_up = [&](const T* decoder, auto& of_decoder, const T* principal,
                            auto& of_principal, const double* scales) {
      std::fill(products.begin(), products.end(), 0.0);
      std::fill(squares.begin(), squares.end(), 0.0);
      for (std::int64_t first = 0; first < P; first += kStrip) {
        const std::int64_t width = std::min(kStrip, P - first);
        const auto x = of_decoder.load(decoder, first, width, scales);
        const auto y =
            of_principal.load(principal, first, width, scales ? scales + columns : nullptr);
        add_products(x, columns, y, padded(k), width, products.data());
        add_squares(x.at, columns, width, squares.data());
        add_squares(y.at, padded(k), width, squares.data() + columns);
      }
    };

    for (std::int64_t b = begin; b < end; ++b) {
      const T* const decoder = jacobian + b * P * d;
      const T* const principal = components + b * k * P;
      std::fill(scale.begin(), scale.end(), 1.0);
      add_up(decoder, decoder_columns, principal, principal_columns, nullptr);
      // Where squares left the range of the type, once more: those of floats do not leave double's,
      // and those of doubles are brought near one by powers of two.
      bool again = false;
      for (std::int64_t c = 0; c < all; ++c) {
        const bool is_component = c >= columns;
        const std::int64_t i = is_component ? c - columns : c;
        if (i >= (is_component ? k : d) || in_range<T>(squares[static_cast<std::size_t>(c)]))
          continue;
        const T* const matrix = is_component ? principal : decoder;
        const std::int64_t count = is_component ? k : d;
        const bool pixels_last = is_component || latents_first;
        if (vanishes(matrix, i, count, P, pixels_last)) continue;
        again = true;
        if constexpr (std::is_same_v<T, double>) {
          scale[static_cast<std::size_t>(c)] =
              scale_of(matrix + (pixels_last ? i * P : i), P, pixels_last ? 1 : count);
        }
      }
      if (again) {
        add_up(decoder, wide_decoder, principal, wide_principal,
               std::is_same_v<T, double> ? scale.data() : nullptr);
      }
      for (std::size_t c = 0; c < norm.size(); ++c) norm[c] = std::sqrt(squares[c]);
      const auto norm_of = [&](std::int64_t c) {
        return static_cast<T>(norm[static_cast<std::size_t>(c)] /
                              scale[static_cast<std::size_t>(c)]);
      };
      for (std::int64_t i = 0; i < d; ++i) norms[b * (d + k) + i] = norm_of(i);
      for (std::int64_t a = 0; a < k; ++a) norms[b * (d + k) + d + a] = norm_of(columns + a);
      for (std::int64_t i = 0; i < d; ++i) {
        for (std::int64_t a = 0; a < k; ++a) {
          const double both =
              norm[static_cast<std::size_t>(i)] * norm[static_cast<std::size_t>(columns + a)];
          const double cosine =
              sum_lanes(products.data() + (i * padded(k) + a) * kLanesOfSum) / both;
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
