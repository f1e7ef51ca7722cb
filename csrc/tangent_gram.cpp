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
#include "strip.h"

namespace vaebias::cpu {
namespace {

// Differences of bytes subtract and multiply exactly, in integers.
template <class Pixel>
using Difference = std::conditional_t<std::is_same_v<Pixel, std::uint8_t>, std::int16_t, Pixel>;

// Adds the products of tangent a with b[0] to b[3]; 256 * 255^2 < 2^31. Without a pragma: as plain
// sums they become multiply-add instructions of 16-bit pairs.
VAEBIAS_INLINE void add_1x4(const std::int16_t* a, const std::int16_t* const* b, std::int64_t width,
                            double* sums) {
  const std::int16_t *const b0 = b[0], *const b1 = b[1], *const b2 = b[2], *const b3 = b[3];
  std::int32_t sum0 = 0, sum1 = 0, sum2 = 0, sum3 = 0;
  for (std::int64_t p = 0; p < width; ++p) {
    sum0 += static_cast<std::int32_t>(a[p]) * static_cast<std::int32_t>(b0[p]);
    sum1 += static_cast<std::int32_t>(a[p]) * static_cast<std::int32_t>(b1[p]);
    sum2 += static_cast<std::int32_t>(a[p]) * static_cast<std::int32_t>(b2[p]);
    sum3 += static_cast<std::int32_t>(a[p]) * static_cast<std::int32_t>(b3[p]);
  }
  sums[0] += sum0;
  sums[1] += sum1;
  sums[2] += sum2;
  sums[3] += sum3;
}

// The same of b[0] and b[1].
VAEBIAS_INLINE void add_1x2(const std::int16_t* a, const std::int16_t* const* b, std::int64_t width,
                            double* sums) {
  const std::int16_t *const b0 = b[0], *const b1 = b[1];
  std::int32_t sum0 = 0, sum1 = 0;
  for (std::int64_t p = 0; p < width; ++p) {
    sum0 += static_cast<std::int32_t>(a[p]) * static_cast<std::int32_t>(b0[p]);
    sum1 += static_cast<std::int32_t>(a[p]) * static_cast<std::int32_t>(b1[p]);
  }
  sums[0] += sum0;
  sums[1] += sum1;
}

// As add_gram of strip.h.
VAEBIAS_INLINE void add_products(const std::int16_t* const* at, std::int64_t count,
                                 std::int64_t width, double* sums) {
  for (std::int64_t a = 0; a < count; ++a) {
    double* const row = sums + a * count;
    std::int64_t b = 0;
    for (; b + 4 <= padded(a + 1); b += 4) add_1x4(at[a], at + b, width, row + b);
    if (b <= a) add_1x2(at[a], at + b, width, row + b);
  }
}
template <class T>
VAEBIAS_INLINE void add_products(const T* const* at, std::int64_t count, std::int64_t width,
                                 double* sums) {
  add_gram(at, count, width, sums);
}

// Adds the products of the tangents plus[a] - minus[a], an even number of them, over P pixels to
// sums [count, count]. tangents [count, kStride] is where a strip of them stands.
template <class Pixel>
VAEBIAS_CLONES void add_tangents(const Pixel* const* plus, const Pixel* const* minus,
                                 std::int64_t count, std::int64_t P, Difference<Pixel>* tangents,
                                 const Difference<Pixel>* const* at, double* sums) {
  for (std::int64_t first = 0; first < P; first += kStrip) {
    const std::int64_t width = std::min(kStrip, P - first);
    for (std::int64_t a = 0; a < count; ++a) {
      const Pixel* const to = plus[a] + first;
      const Pixel* const from = minus[a] + first;
      Difference<Pixel>* const tangent = tangents + a * kStride;
#pragma omp simd
      for (std::int64_t p = 0; p < width; ++p) {
        tangent[p] = static_cast<Difference<Pixel>>(static_cast<Difference<Pixel>>(to[p]) -
                                                    static_cast<Difference<Pixel>>(from[p]));
      }
    }
    add_products(at, count, width, sums);
  }
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
  const std::int64_t grain = std::max<std::int64_t>(1, 16384 / std::max<std::int64_t>(1, k * P));
  parallel_for(N, grain, threads, [&](std::int64_t begin, std::int64_t end) {
    const std::size_t columns = static_cast<std::size_t>(padded(k));
    std::vector<Difference<Pixel>> tangents(columns * static_cast<std::size_t>(kStride));
    std::vector<const Difference<Pixel>*> at(columns);
    for (std::size_t a = 0; a < columns; ++a)
      at[a] = tangents.data() + a * static_cast<std::size_t>(kStride);
    std::vector<const Pixel*> to(columns), from(columns);
    std::vector<std::int64_t> factors;  // with a tangent at this point
    std::vector<double> sums(columns * columns);
    for (std::int64_t n = begin; n < end; ++n) {
      const T* const steps = inverse_steps + n * k;
      const auto readable = [&](std::int64_t a) {
        return within(plus[n * k + a], M) && within(minus[n * k + a], M);
      };
      factors.clear();
      for (std::int64_t a = 0; a < k; ++a) {
        if (steps[a] == T(0) || !readable(a)) continue;
        to[factors.size()] = images + plus[n * k + a] * P;
        from[factors.size()] = images + minus[n * k + a] * P;
        factors.push_back(a);
      }
      const std::size_t m = factors.size();
      const std::int64_t count = padded(static_cast<std::int64_t>(m));
      if (m % 2 == 1) {  // an odd tangent has a partner that is not used
        to[m] = to[m - 1];
        from[m] = from[m - 1];
      }
      std::fill(sums.begin(), sums.end(), 0.0);
      add_tangents(to.data(), from.data(), count, P, tangents.data(), at.data(), sums.data());
      for (std::int64_t a = 0; a < k; ++a) {
        const bool broken_a = steps[a] != T(0) && !readable(a);
        for (std::int64_t b = 0; b <= a; ++b) {
          const bool broken = broken_a || (steps[b] != T(0) && !readable(b));
          gram[(n * k + a) * k + b] = gram[(n * k + b) * k + a] =
              broken ? std::numeric_limits<T>::quiet_NaN() : T(0);
        }
      }
      for (std::size_t i = 0; i < m; ++i) {
        for (std::size_t j = 0; j <= i; ++j) {
          const std::int64_t a = factors[i], b = factors[j];
          const double sum = sums[i * static_cast<std::size_t>(count) + j];
          gram[(n * k + a) * k + b] = gram[(n * k + b) * k + a] =
              static_cast<T>(sum * static_cast<double>(steps[a]) * static_cast<double>(steps[b]));
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
