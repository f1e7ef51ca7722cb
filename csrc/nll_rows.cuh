// Rows of pixels on CUDA, for the reconstruction alone (nll.cu, which compiles them) and for the
// whole loss (elbo.cu).
#pragma once

#include "cuda_common.cuh"

namespace vaebias::cuda {

// What the rows carry besides pixels.
template <class T>
struct Latents {
  const T* mu;
  const T* logvar;
  std::int64_t d = 0;
  double beta = 0;
  T weight;  // beta / B
  T* kl;
  T* grad_mu;
  T* grad_logvar;
};

// The sums of rows [B] and, unless `loss` is null, their mean with the latents' KL; with the
// gradient of the pixels, `weight` times, unless that is null. Arguments as in kernels.h.
template <class T>
void rows_of_pixels(const void* prediction, Storage predictions, const void* target,
                    Storage targets, std::int64_t B, std::int64_t P, Likelihood likelihood,
                    double scale, double weight, const Latents<T>& latents, double* workspace,
                    void* gradient, T* rows, T* loss, cudaStream_t stream);

}  // namespace vaebias::cuda
