// Draws from posteriors and their KL to the standard normal on CUDA, elementwise; a thread takes
// the normals of one Philox block.
#include <cmath>

#include "cuda_common.cuh"
#include "normal.h"
#include "philox.h"

namespace vaebias::cuda {
namespace {

constexpr int kThreads = 256;

// Calls visit(i, n_i) for the elements of this thread's Philox block.
template <class T, class Visit>
__device__ inline void visit_noise(const T* noise, std::uint64_t seed, std::uint64_t offset,
                                   std::int64_t size, const Visit& visit) {
  constexpr int width = NormalBlock<T>::size;
  const std::int64_t block = global_thread();
  if (block * width >= size) return;
  if (noise) {
    for (int i = 0; i < width && block * width + i < size; ++i) {
      visit(block * width + i, noise[block * width + i]);
    }
  } else {
    const NormalBlock<T> normals(seed, offset, static_cast<std::uint64_t>(block));
    for (int i = 0; i < width && block * width + i < size; ++i) {
      visit(block * width + i, normals.value[i]);
    }
  }
}

template <class T>
__global__ void sample(const T* mu, const T* logvar, const T* noise, std::uint64_t seed,
                       std::uint64_t offset, std::int64_t size, T* z, T* kl) {
  visit_noise(noise, seed, offset, size, [&](std::int64_t i, T n) {
    z[i] = mu[i] + exp(logvar[i] / 2) * n;
    kl[i] = kl_standard_normal(mu[i], logvar[i]);
  });
}

template <class T>
__global__ void sample_backward(const T* mu, const T* logvar, const T* noise, std::uint64_t seed,
                                std::uint64_t offset, std::int64_t size, const T* grad_z,
                                const T* grad_kl, T* grad_mu, T* grad_logvar) {
  visit_noise(noise, seed, offset, size, [&](std::int64_t i, T n) {
    grad_mu[i] = grad_z[i] + grad_kl[i] * mu[i];
    grad_logvar[i] = (grad_z[i] * exp(logvar[i] / 2) * n + grad_kl[i] * expm1(logvar[i])) / 2;
  });
}

template <class T>
unsigned noise_blocks(std::int64_t size) {
  constexpr int width = NormalBlock<T>::size;
  return blocks_for((size + width - 1) / width, kThreads);
}

}  // namespace

template <class T>
void sample_and_kl(const T* mu, const T* logvar, const T* noise, std::uint64_t seed,
                   std::uint64_t offset, std::int64_t size, T* z, T* kl, Stream stream) {
  if (size == 0) return;
  sample<<<noise_blocks<T>(size), kThreads, 0, native(stream)>>>(mu, logvar, noise, seed, offset,
                                                                 size, z, kl);
  check_launch("sample_and_kl");
}

template <class T>
void sample_and_kl_backward(const T* mu, const T* logvar, const T* noise, std::uint64_t seed,
                            std::uint64_t offset, std::int64_t size, const T* grad_z,
                            const T* grad_kl, T* grad_mu, T* grad_logvar, Stream stream) {
  if (size == 0) return;
  sample_backward<<<noise_blocks<T>(size), kThreads, 0, native(stream)>>>(
      mu, logvar, noise, seed, offset, size, grad_z, grad_kl, grad_mu, grad_logvar);
  check_launch("sample_and_kl_backward");
}

VAEBIAS_FLOAT_AND_DOUBLE(sample_and_kl)
VAEBIAS_FLOAT_AND_DOUBLE(sample_and_kl_backward)

}  // namespace vaebias::cuda
