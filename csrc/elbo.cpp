// The VAE loss on the CPU: the reconstruction of nll.cpp, the KL, their mean and its gradients.
#include <algorithm>
#include <cmath>

#include "kernels.h"
#include "normal.h"

namespace vaebias::cpu {

template <class T>
void elbo(const void* prediction, Storage predictions, const void* target, Storage targets,
          const T* mu, const T* logvar, std::int64_t B, std::int64_t P, std::int64_t d,
          Likelihood likelihood, double scale, double beta, double* workspace, T* loss,
          T* reconstruction, T* kl, void* gradient, T* grad_mu, T* grad_logvar, int threads) {
  const double over_batch = 1.0 / static_cast<double>(std::max<std::int64_t>(B, 1));
  nll<T>(prediction, predictions, target, targets, B, P, likelihood, scale, over_batch, workspace,
         reconstruction, gradient, threads);
  const T weight = static_cast<T>(beta * over_batch);
  double total = 0;
  for (std::int64_t b = 0; b < B; ++b) {
    double row = 0;
    for (std::int64_t i = b * d; i < (b + 1) * d; ++i) {
      kl[i] = kl_standard_normal(mu[i], logvar[i]);
      row += static_cast<double>(kl[i]);
      if (grad_mu) {  // of images without pixels, the address of their gradient is null
        grad_mu[i] = weight * mu[i];
        grad_logvar[i] = weight * std::expm1(logvar[i]) / 2;
      }
    }
    total += static_cast<double>(reconstruction[b]) + beta * row;
  }
  // As torch: the mean over no examples is NaN.
  *loss = static_cast<T>(total / static_cast<double>(B));
}

VAEBIAS_FLOAT_AND_DOUBLE(elbo)

}  // namespace vaebias::cpu
