// Tangent Grams on the CPU: the tangents of one image are formed a strip of pixels at a time in
// a buffer that stays in L1, and their products added up; the N x k x P tangents never exist.
#include <algorithm>
#include <cstddef>
#include <limits>
#include <type_traits>
#include <vector>

#include "kernels.h"
#include "parallel.h"
#include "simd.h"

namespace vaebias::cpu {
namespace {

constexpr std::int64_t kStrip = 512;  // 512 * 255^2 < 2^31: byte products add up in int32

template <class Pixel, class Difference>
VAEBIAS_CLONES void subtract(const Pixel* plus, const Pixel* minus, std::int64_t n,
                             Difference* out) {
#pragma omp simd
  for (std::int64_t p = 0; p < n; ++p) {
    out[p] = static_cast<Difference>(static_cast<Difference>(plus[p]) -
                                     static_cast<Difference>(minus[p]));
  }
}

template <class Product, class Difference>
VAEBIAS_CLONES Product dot(const Difference* a, const Difference* b, std::int64_t n) {
  Product sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t p = 0; p < n; ++p)
    sum += static_cast<Product>(a[p]) * static_cast<Product>(b[p]);
  return sum;
}

template <class T>
VAEBIAS_CLONES void add_difference(const T* plus, const T* minus, double weight, std::int64_t n,
                                   double* out) {
#pragma omp simd
  for (std::int64_t p = 0; p < n; ++p) {
    out[p] += weight * (static_cast<double>(plus[p]) - static_cast<double>(minus[p]));
  }
}

bool within(std::int64_t index, std::int64_t size) { return index >= 0 && index < size; }

template <class Pixel, class T>
void gram_of_tangents(const Pixel* images, const std::int64_t* plus, const std::int64_t* minus,
                      const T* inverse_steps, std::int64_t M, std::int64_t N, std::int64_t k,
                      std::int64_t P, T* gram, int threads) {
  // Bytes subtract and multiply exactly in integers; floats add up in double across strips.
  using Difference = std::conditional_t<std::is_same_v<Pixel, std::uint8_t>, std::int16_t, Pixel>;
  using Product = std::conditional_t<std::is_same_v<Pixel, std::uint8_t>, std::int32_t, Pixel>;
  const std::int64_t grain = std::max<std::int64_t>(1, 16384 / std::max<std::int64_t>(1, k * P));
  parallel_for(N, grain, threads, [&](std::int64_t begin, std::int64_t end) {
    std::vector<Difference> tangents(static_cast<std::size_t>(k * kStrip));
    std::vector<double> sums(static_cast<std::size_t>(k * k));
    for (std::int64_t n = begin; n < end; ++n) {
      const std::int64_t* const to = plus + n * k;
      const std::int64_t* const from = minus + n * k;
      const T* const steps = inverse_steps + n * k;
      const auto readable = [&](std::int64_t a) { return within(to[a], M) && within(from[a], M); };
      std::fill(sums.begin(), sums.end(), 0.0);
      for (std::int64_t first = 0; first < P; first += kStrip) {
        const std::int64_t width = std::min(kStrip, P - first);
        for (std::int64_t a = 0; a < k; ++a) {
          if (steps[a] == T(0) || !readable(a)) continue;
          Difference* const tangent = tangents.data() + a * kStrip;
          subtract(images + to[a] * P + first, images + from[a] * P + first, width, tangent);
          for (std::int64_t b = 0; b <= a; ++b) {
            if (steps[b] == T(0) || !readable(b)) continue;
            sums[static_cast<std::size_t>(a * k + b)] +=
                static_cast<double>(dot<Product>(tangent, tangents.data() + b * kStrip, width));
          }
        }
      }
      for (std::int64_t a = 0; a < k; ++a) {
        for (std::int64_t b = 0; b <= a; ++b) {
          double value = sums[static_cast<std::size_t>(a * k + b)] * static_cast<double>(steps[a]) *
                         static_cast<double>(steps[b]);
          const bool broken_a = steps[a] != T(0) && !readable(a);
          const bool broken_b = steps[b] != T(0) && !readable(b);
          if (broken_a || broken_b) value = std::numeric_limits<double>::quiet_NaN();
          gram[(n * k + a) * k + b] = gram[(n * k + b) * k + a] = static_cast<T>(value);
        }
      }
    }
  });
}

}  // namespace

template <class T>
void tangent_gram(const void* images, bool images_are_bytes, const std::int64_t* plus,
                  const std::int64_t* minus, const T* inverse_steps, std::int64_t M, std::int64_t N,
                  std::int64_t k, std::int64_t P, T* gram, int threads) {
  if (images_are_bytes) {
    gram_of_tangents(static_cast<const std::uint8_t*>(images), plus, minus, inverse_steps, M, N, k,
                     P, gram, threads);
  } else {
    gram_of_tangents(static_cast<const T*>(images), plus, minus, inverse_steps, M, N, k, P, gram,
                     threads);
  }
}

// With W = grad_gram + its transpose: d loss / d t_a = sum_b W_ab t_b, and a use of image m as
// plus (minus) of tangent a adds (takes) inverse_steps_a times that.
template <class T>
void tangent_gram_backward(const T* images, const std::int64_t* plus, const std::int64_t* minus,
                           const T* inverse_steps, const T* weight, const std::int64_t* uses,
                           const std::int64_t* starts, std::int64_t M, std::int64_t N,
                           std::int64_t k, std::int64_t P, T* grad_images, int threads) {
  static_cast<void>(N);
  parallel_for(M, 1, threads, [&](std::int64_t begin, std::int64_t end) {
    std::vector<double> sum(static_cast<std::size_t>(P));  // an image may have many uses
    for (std::int64_t m = begin; m < end; ++m) {
      std::fill(sum.begin(), sum.end(), 0.0);
      for (std::int64_t use = starts[m]; use < starts[m + 1]; ++use) {
        const std::int64_t n = uses[use] / (2 * k), a = uses[use] / 2 % k;
        const double own =
            (uses[use] % 2 ? -1.0 : 1.0) * static_cast<double>(inverse_steps[n * k + a]);
        for (std::int64_t b = 0; b < k; ++b) {
          const double w = own * static_cast<double>(weight[(n * k + a) * k + b]) *
                           static_cast<double>(inverse_steps[n * k + b]);
          const std::int64_t to = plus[n * k + b], from = minus[n * k + b];
          if (w == 0 || !within(to, M) || !within(from, M)) continue;
          add_difference(images + to * P, images + from * P, w, P, sum.data());
        }
      }
      std::transform(sum.begin(), sum.end(), grad_images + m * P,
                     [](double x) { return static_cast<T>(x); });
    }
  });
}

VAEBIAS_FLOAT_AND_DOUBLE(tangent_gram)
VAEBIAS_FLOAT_AND_DOUBLE(tangent_gram_backward)

}  // namespace vaebias::cpu
