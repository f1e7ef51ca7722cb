// KL of a normal posterior to a Laplace prior on CUDA: one thread an element, which leaves the
// value and both slopes from one exponential and one erf.
#include <cmath>

#include "cuda_common.cuh"

namespace vaebias::cuda {
namespace {

constexpr int kThreads = 256;

// With sigma = e^(l/2), m = mu - previous and y = |m| / (sigma sqrt 2):
//   E|N(m, sigma^2)| = |m| erf(y) + sigma sqrt(2/pi) e^(-y^2), two terms that never cancel;
//   its slope in m is sign(m) erf(y), that in l half its second term.
template <class T>
__global__ void elementwise(const T* mu, const T* logvar, const T* previous, T offset, T rate,
                            std::int64_t size, T* kl, T* slope_mu, T* slope_logvar) {
  const std::int64_t i = global_thread();
  if (i >= size) return;
  const T l = logvar[i], m = mu[i] - previous[i], distance = fabs(m);
  // Squared up from its square root, sigma and 1/sigma reach their infinities and zeros only where
  // T does.
  const T root = exp(l / 4), inverse_root = exp(-l / 4);
  const T scaled = distance * static_cast<T>(kSqrtHalf) * inverse_root * inverse_root;
  const T y = distance == T(0) ? T(0) : scaled;  // not 0/0 where sigma is 0
  const T error = erf(y);
  const T spread = root * root * static_cast<T>(kSqrtTwoOverPi) * exp(-y * y);
  // In this order an infinite spread wins over the entropy that also grows without bound.
  const T entropy = l * T(0.5) + offset;
  const T energy = rate * (distance * error + spread);
  kl[i] = isinf(energy) ? energy : energy - entropy;
  if (slope_mu) {
    slope_mu[i] = m < T(0) ? -rate * error : rate * error;
    slope_logvar[i] = (rate * spread - T(1)) * T(0.5);
  }
}

}  // namespace

template <class T>
void laplace_kl(const T* mu, const T* logvar, const T* previous, double rate, std::int64_t size,
                T* kl, T* slope_mu, T* slope_logvar, Stream stream) {
  if (size == 0) return;
  // The entropy's constant and the Laplace density's: log(2 pi e)/2 + log(rate/2).
  const double constant = kHalfLogTwoPi + 0.5 + std::log(rate / 2);
  elementwise<<<blocks_for(size, kThreads), kThreads, 0, native(stream)>>>(
      mu, logvar, previous, static_cast<T>(constant), static_cast<T>(rate), size, kl, slope_mu,
      slope_logvar);
  check_launch("laplace_kl");
}

VAEBIAS_FLOAT_AND_DOUBLE(laplace_kl)

}  // namespace vaebias::cuda
