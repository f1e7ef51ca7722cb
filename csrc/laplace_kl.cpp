// KL of a normal posterior to a Laplace prior on the CPU, elementwise: the value and both slopes
// share one exponential and one erf.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels.h"
#include "parallel.h"
#include "simd.h"

namespace vaebias::cpu {
namespace {

// With sigma = e^(l/2), m = mu - previous and y = |m| / (sigma sqrt 2):
//   E|N(m, sigma^2)| = |m| erf(y) + sigma sqrt(2/pi) e^(-y^2), two terms that never cancel;
//   its slope in m is sign(m) erf(y), that in l half its second term.
//
// In three passes over pieces that stay in L1. One pass would be a chain of some 150 cycles for each
// register, of which a processor that looks a few hundred instructions ahead overlaps one or two.
template <class T>
VAEBIAS_CLONES void elementwise(const T* __restrict mu, const T* __restrict logvar,
                                const T* __restrict previous, double constant, T rate,
                                std::int64_t n, T* __restrict kl, T* __restrict slope_mu,
                                T* __restrict slope_logvar) {
  constexpr std::int64_t kPart = 256;
  const T offset = static_cast<T>(constant);
  T sigma[kPart], y[kPart], e[kPart];
  for (std::int64_t first = 0; first < n; first += kPart) {
    const std::int64_t size = std::min(kPart, n - first);
    const T* const m = mu + first;
    const T* const before = previous + first;
    const T* const l = logvar + first;
#pragma omp simd
    for (std::int64_t i = 0; i < size; ++i) {
      // e^(l/4) is the square root of sigma: squared up from it, sigma and 1/sigma reach their
      // infinities and zeros only where T does.
      const T below = simd::exp_nonpositive(-std::abs(l[i]) / 4), above = T(1) / below;
      const T root = l[i] > T(0) ? above : below, inverse_root = l[i] > T(0) ? below : above;
      const T distance = std::abs(m[i] - before[i]);
      const T scaled = distance * static_cast<T>(kSqrtHalf) * inverse_root * inverse_root;
      sigma[i] = root * root;
      y[i] = distance == T(0) ? T(0) : scaled;  // not 0/0 where sigma is 0
    }
#pragma omp simd
    for (std::int64_t i = 0; i < size; ++i) e[i] = simd::exp_nonpositive(-y[i] * y[i]);
    T* const value = kl + first;
    T* const to_mu = slope_mu ? slope_mu + first : nullptr;
    T* const to_logvar = slope_mu ? slope_logvar + first : nullptr;
#pragma omp simd
    for (std::int64_t i = 0; i < size; ++i) {
      const T difference = m[i] - before[i];
      const T erf = simd::erf_nonnegative(y[i], e[i]);
      const T spread = sigma[i] * static_cast<T>(kSqrtTwoOverPi) * e[i];
      // In this order an infinite spread wins over the entropy that also grows without bound.
      const T entropy = l[i] * T(0.5) + offset;
      const T energy = rate * (std::abs(difference) * erf + spread);
      value[i] = energy == std::numeric_limits<T>::infinity() ? energy : energy - entropy;
      if (to_mu) {
        to_mu[i] = difference < T(0) ? -rate * erf : rate * erf;
        to_logvar[i] = (rate * spread - T(1)) * T(0.5);
      }
    }
  }
}

}  // namespace

template <class T>
void laplace_kl(const T* mu, const T* logvar, const T* previous, double rate, std::int64_t size,
                T* kl, T* slope_mu, T* slope_logvar, int threads) {
  // The entropy's constant and the Laplace density's: log(2 pi e)/2 + log(rate/2).
  const double constant = kHalfLogTwoPi + 0.5 + std::log(rate / 2);
  parallel_for(size, 8192, threads, [&](std::int64_t begin, std::int64_t end) {
    elementwise(mu + begin, logvar + begin, previous + begin, constant, static_cast<T>(rate),
                end - begin, kl + begin, slope_mu ? slope_mu + begin : nullptr,
                slope_logvar ? slope_logvar + begin : nullptr);
  });
}

VAEBIAS_FLOAT_AND_DOUBLE(laplace_kl)

}  // namespace vaebias::cpu
