// The VAE loss on CUDA: pixels and latents of a row in one launch (nll_rows.cuh).
#include "nll_rows.cuh"

namespace vaebias::cuda {

template <class T>
void elbo(const void* prediction, Storage predictions, const void* target, Storage targets,
          const T* mu, const T* logvar, std::int64_t B, std::int64_t P, std::int64_t d,
          Likelihood likelihood, double scale, double beta, double* workspace, T* loss,
          T* reconstruction, T* kl, void* gradient, T* grad_mu, T* grad_logvar, Stream stream) {
  const double over_batch = 1.0 / static_cast<double>(B > 0 ? B : 1);
  const Latents<T> latents{mu, logvar, d,           beta, static_cast<T>(beta * over_batch),
                           kl, grad_mu, grad_logvar};
  rows_of_pixels(prediction, predictions, target, targets, B, P, likelihood, scale, over_batch,
                 latents, workspace, gradient, reconstruction, loss, native(stream));
}

VAEBIAS_FLOAT_AND_DOUBLE(elbo)

}  // namespace vaebias::cuda
