// Reconstruction losses on the CPU: one pass over the pixels writes both the loss and its gradient,
// sharing the one exponential that both need.
#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <type_traits>

#include "kernels.h"
#include "likelihoods.h"
#include "parallel.h"
#include "simd.h"

namespace vaebias::cpu {
namespace {

constexpr std::int64_t kBlock = 512;  // summed in lanes of T; blocks are summed in double

// A block of targets as numbers. Bytes are widened first and used after: doing both in one loop
// would tie the arithmetic to the width of a vector of bytes, at three times the cost.
template <class T>
VAEBIAS_INLINE const T* as_numbers(const T* target, std::int64_t, T*) {
  return target;
}
template <class T>
VAEBIAS_INLINE const T* as_numbers(const std::uint8_t* target, std::int64_t n, T* numbers) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i)
    numbers[i] = static_cast<T>(target[i]) * static_cast<T>(1.0 / 255.0);
  return numbers;
}

// Straight lines, which vectorise.
struct Functions {
  template <class T>
  VAEBIAS_INLINE static T exp_nonpositive(T x) {
    return simd::exp_nonpositive(x);
  }
  template <class T>
  VAEBIAS_INLINE static T reciprocal_of_one_to_two(T x) {
    return T(1) / x;
  }
};

template <class Likelihood, bool with_gradient, class T, class Target>
VAEBIAS_INLINE double sum_pixels(const T* prediction, const Target* target, std::int64_t n,
                                 T inverse_variance, T weight, T* gradient) {
  constexpr bool look = Likelihood::kBounded && std::is_same_v<Target, T>;  // bytes are in range
  double total = 0;
  T buffer[kBlock], low = 0, high = 1;
  for (std::int64_t begin = 0; begin < n; begin += kBlock) {
    const std::int64_t size = std::min(kBlock, n - begin);
    const T* const x = prediction + begin;
    const T* const t = as_numbers(target + begin, size, buffer);
    T* const g = gradient + (with_gradient ? begin : 0);
    T sum = 0;
#pragma omp simd reduction(+ : sum) reduction(min : low) reduction(max : high)
    for (std::int64_t i = 0; i < size; ++i) {
      T slope;
      sum += Likelihood::value_and_slope(x[i], t[i], inverse_variance, &slope);
      if (look) low = t[i] < low ? t[i] : low;
      if (look) high = t[i] > high ? t[i] : high;
      if (with_gradient) g[i] = weight * slope;
    }
    total += static_cast<double>(sum);
  }
  const bool outside = low < T(-kTargetTolerance) || high > T(1 + kTargetTolerance);
  return outside ? std::numeric_limits<double>::quiet_NaN() : total;
}

template <class T, class Target>
VAEBIAS_CLONES double bernoulli_piece(const T* prediction, const Target* target, std::int64_t n,
                                      T inverse_variance, T weight, T* gradient) {
  return gradient ? sum_pixels<Bernoulli<Functions>, true>(prediction, target, n, inverse_variance, weight,
                                                gradient)
                  : sum_pixels<Bernoulli<Functions>, false>(prediction, target, n, inverse_variance, weight,
                                                 gradient);
}

template <class T, class Target>
VAEBIAS_CLONES double gaussian_piece(const T* prediction, const Target* target, std::int64_t n,
                                     T inverse_variance, T weight, T* gradient) {
  return gradient
             ? sum_pixels<Gaussian, true>(prediction, target, n, inverse_variance, weight, gradient)
             : sum_pixels<Gaussian, false>(prediction, target, n, inverse_variance, weight,
                                           gradient);
}

template <class T, class Target>
void nll_rows(const T* prediction, const Target* target, std::int64_t B, std::int64_t P,
              Likelihood likelihood, double scale, double weight, double* workspace, T* nll,
              T* gradient, int threads) {
  const bool gaussian = likelihood == Likelihood::gaussian;
  const auto piece = gaussian ? gaussian_piece<T, Target> : bernoulli_piece<T, Target>;
  const T inverse_variance = static_cast<T>(1.0 / (scale * scale));
  const double constant =
      gaussian ? static_cast<double>(P) * (std::log(scale) + kHalfLogTwoPi) : 0.0;
  const std::int64_t pieces = (P + kPiece - 1) / kPiece;
  // Waking a second thread costs as much as some ten thousand pixels.
  const std::int64_t grain =
      std::max<std::int64_t>(1, 4 * kPiece / std::clamp<std::int64_t>(P, 1, kPiece));
  parallel_for(B * pieces, grain, threads, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t task = begin; task < end; ++task) {
      const std::int64_t b = task / pieces, first = task % pieces * kPiece;
      const std::int64_t at = b * P + first;
      workspace[task] =
          piece(prediction + at, target + at, std::min(kPiece, P - first), inverse_variance,
                static_cast<T>(weight), gradient ? gradient + at : nullptr);
    }
  });
  for (std::int64_t b = 0; b < B; ++b) {
    double total = constant;
    for (std::int64_t i = 0; i < pieces; ++i) total += workspace[b * pieces + i];
    nll[b] = static_cast<T>(total);
  }
}

}  // namespace

template <class T>
void nll(const void* prediction, Storage predictions, const void* target, Storage targets,
         std::int64_t B, std::int64_t P, Likelihood likelihood, double scale, double weight,
         double* workspace, T* nll, void* gradient, int threads) {
  if (predictions != Storage::same || (targets != Storage::same && targets != Storage::bytes)) {
    throw std::invalid_argument("pixels of 16 bits are widened before the CPU reads them");
  }
  const auto sum = [&](auto* typed) {
    nll_rows(static_cast<const T*>(prediction), typed, B, P, likelihood, scale, weight, workspace,
             nll, static_cast<T*>(gradient), threads);
  };
  if (targets == Storage::bytes) {
    sum(static_cast<const std::uint8_t*>(target));
  } else {
    sum(static_cast<const T*>(target));
  }
}

VAEBIAS_FLOAT_AND_DOUBLE(nll)

}  // namespace vaebias::cpu
