// Draws from posteriors and their KL to the standard normal on the CPU, elementwise.
#include <algorithm>
#include <cmath>

#include "kernels.h"
#include "normal.h"
#include "parallel.h"
#include "philox.h"

namespace vaebias::cpu {
namespace {

// Calls visit(i, n_i) with the noise of each element.
template <class T, class Visit>
void for_each_noise(const T* noise, std::uint64_t seed, std::uint64_t offset, std::int64_t size,
                    int threads, const Visit& visit) {
  constexpr std::int64_t width = NormalBlock<T>::size;
  parallel_for((size + width - 1) / width, 1024, threads,
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t block = begin; block < end; ++block) {
                   const std::int64_t first = block * width, last = std::min(size, first + width);
                   if (noise) {
                     for (std::int64_t i = first; i < last; ++i) visit(i, noise[i]);
                   } else {
                     const NormalBlock<T> normals(seed, offset, static_cast<std::uint64_t>(block));
                     for (std::int64_t i = first; i < last; ++i) visit(i, normals.value[i - first]);
                   }
                 }
               });
}

}  // namespace

template <class T>
void sample_and_kl(const T* mu, const T* logvar, const T* noise, std::uint64_t seed,
                   std::uint64_t offset, std::int64_t size, T* z, T* kl, int threads) {
  for_each_noise(noise, seed, offset, size, threads, [&](std::int64_t i, T n) {
    z[i] = mu[i] + std::exp(logvar[i] / 2) * n;
    kl[i] = kl_standard_normal(mu[i], logvar[i]);
  });
}

template <class T>
void sample_and_kl_backward(const T* mu, const T* logvar, const T* noise, std::uint64_t seed,
                            std::uint64_t offset, std::int64_t size, const T* grad_z,
                            const T* grad_kl, T* grad_mu, T* grad_logvar, int threads) {
  for_each_noise(noise, seed, offset, size, threads, [&](std::int64_t i, T n) {
    grad_mu[i] = grad_z[i] + grad_kl[i] * mu[i];
    grad_logvar[i] =
        (grad_z[i] * std::exp(logvar[i] / 2) * n + grad_kl[i] * std::expm1(logvar[i])) / 2;
  });
}

template <class T>
void philox_normal(const std::int64_t* seeds, const std::int64_t* offset, std::int64_t streams,
                   std::int64_t size, T* normals, int threads) {
  for (std::int64_t i = 0; i < streams; ++i) {
    const auto seed = static_cast<std::uint64_t>(seeds[i]);
    for_each_noise<T>(nullptr, seed, static_cast<std::uint64_t>(*offset), size, threads,
                      [&](std::int64_t at, T n) { normals[i * size + at] = n; });
  }
}

VAEBIAS_FLOAT_AND_DOUBLE(sample_and_kl)
VAEBIAS_FLOAT_AND_DOUBLE(sample_and_kl_backward)
VAEBIAS_FLOAT_AND_DOUBLE(philox_normal)

}  // namespace vaebias::cpu
