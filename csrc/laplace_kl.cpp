// KL of a normal posterior to a Laplace prior on the CPU, elementwise: the value and both slopes
// share one exponential and one erf.
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
template <class T>
VAEBIAS_CLONES void elementwise(const T* __restrict mu, const T* __restrict logvar,
                                const T* __restrict previous, double constant, T rate,
                                std::int64_t n, T* __restrict kl, T* __restrict slope_mu,
                                T* __restrict slope_logvar) {
  const T offset = static_cast<T>(constant);
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) {
    const T l = logvar[i], m = mu[i] - previous[i], distance = std::abs(m);
    // e^(l/4) is the square root of sigma: squared up from it, sigma and 1/sigma reach their
    // infinities and zeros only where T does.
    const T below = simd::exp_nonpositive(-std::abs(l) / 4), above = T(1) / below;
    const T root = l > T(0) ? above : below, inverse_root = l > T(0) ? below : above;
    const T scaled = distance * static_cast<T>(kSqrtHalf) * inverse_root * inverse_root;
    const T y = distance == T(0) ? T(0) : scaled;  // not 0/0 where sigma is 0
    const T e = simd::exp_nonpositive(-y * y);
    const T erf = simd::erf_nonnegative(y, e);
    const T spread = root * root * static_cast<T>(kSqrtTwoOverPi) * e;
    // In this order an infinite spread wins over the entropy that also grows without bound.
    const T entropy = l * T(0.5) + offset;
    const T energy = rate * (distance * erf + spread);
    kl[i] = energy == std::numeric_limits<T>::infinity() ? energy : energy - entropy;
    if (slope_mu) {
      slope_mu[i] = m < T(0) ? -rate * erf : rate * erf;
      slope_logvar[i] = (rate * spread - T(1)) * T(0.5);
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
