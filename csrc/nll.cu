// Reconstruction losses on CUDA (nll_rows.cuh).
#include "nll_rows.cuh"

namespace vaebias::cuda {

template <class T>
void nll(const T* prediction, const void* target, bool target_is_bytes, std::int64_t B,
         std::int64_t P, Likelihood likelihood, double scale, double weight, double* workspace,
         T* nll, T* gradient, Stream stream) {
  rows_of_pixels<T>(prediction, target, target_is_bytes, B, P, likelihood, scale, weight,
                    Latents<T>{}, workspace, gradient, nll, nullptr, native(stream));
}

VAEBIAS_FLOAT_AND_DOUBLE(nll)

}  // namespace vaebias::cuda
