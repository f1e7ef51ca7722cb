// Rows of pixels on CUDA, for the reconstruction alone and for the whole loss. Each pixel is read
// once: its loss and its gradient come from the same exponential, the gradient is written at once
// and the loss stays in registers. A block sums one piece of a row in a fixed order; a last small
// launch adds pieces to rows and rows to the loss.
#pragma once

#include <cmath>

#include "cuda_common.cuh"
#include "normal.h"

namespace vaebias::cuda {

constexpr int kThreads = 256;

template <class T, int n>
struct alignas(sizeof(T) * n) Pack {
  T value[n];
};

template <class T>
__device__ inline T unit(T target) {
  return target;
}
template <class T>
__device__ inline T unit(std::uint8_t target) {
  return static_cast<T>(target) * static_cast<T>(1.0 / 255.0);
}

struct Bernoulli {
  template <class T>
  __device__ static T value_and_slope(T logit, T target, T, T* slope) {
    const T e = exp(-fabs(logit));
    const T reciprocal = T(1) / (T(1) + e);
    *slope = (logit >= T(0) ? reciprocal : e * reciprocal) - target;
    const T positive = logit > T(0) ? logit : T(0);
    return (positive - target * logit) + log1p(e);
  }
};

struct Gaussian {
  template <class T>
  __device__ static T value_and_slope(T prediction, T target, T inverse_variance, T* slope) {
    const T difference = prediction - target;
    *slope = difference * inverse_variance;
    return *slope * difference * T(0.5);
  }
};

// What the rows carry besides pixels.
template <class T>
struct Latents {
  const T* mu;
  const T* logvar;
  std::int64_t d = 0;
  T weight;  // beta / B
  T* kl;
  T* grad_mu;
  T* grad_logvar;
};

// Block (piece, row). `width` pixels a thread and step: 4 where rows are aligned, else 1.
template <class Likelihood, int width, class T, class Target>
__global__ void pixels(const T* prediction, const Target* target, std::int64_t B, std::int64_t P,
                       std::int64_t pieces, T inverse_variance, T weight, double constant,
                       Latents<T> latents, double* workspace, T* gradient) {
  __shared__ double scratch[32];
  const std::int64_t row = blockIdx.x / pieces, piece = blockIdx.x % pieces;
  const std::int64_t begin = piece * kPiece, end = min(P, begin + kPiece);
  double sum = 0;
  for (std::int64_t p = begin + threadIdx.x * width; p < end; p += kThreads * width) {
    const std::int64_t at = row * P + p;
    const auto predictions = *reinterpret_cast<const Pack<T, width>*>(prediction + at);
    const auto targets = *reinterpret_cast<const Pack<Target, width>*>(target + at);
    Pack<T, width> slopes;
    T values = 0;
#pragma unroll
    for (int i = 0; i < width; ++i) {
      values += Likelihood::value_and_slope(predictions.value[i], unit<T>(targets.value[i]),
                                            inverse_variance, &slopes.value[i]);
      slopes.value[i] *= weight;
    }
    sum += static_cast<double>(values);
    if (gradient) *reinterpret_cast<Pack<T, width>*>(gradient + at) = slopes;
  }
  sum = block_sum(sum, scratch);
  if (threadIdx.x == 0) workspace[blockIdx.x] = sum + (piece == 0 ? constant : 0.0);

  if (piece == 0 && latents.d > 0) {
    double row_kl = 0;
    for (std::int64_t i = threadIdx.x; i < latents.d; i += kThreads) {
      const std::int64_t at = row * latents.d + i;
      const T mu = latents.mu[at], logvar = latents.logvar[at];
      latents.kl[at] = kl_standard_normal(mu, logvar);
      row_kl += static_cast<double>(latents.kl[at]);
      if (latents.grad_mu) {
        latents.grad_mu[at] = latents.weight * mu;
        latents.grad_logvar[at] = latents.weight * expm1(logvar) / 2;
      }
    }
    row_kl = block_sum(row_kl, scratch);
    if (threadIdx.x == 0) workspace[B * pieces + row] = row_kl;
  }
}

// One block: rows from their pieces, the loss from the rows (loss null: rows only).
template <class T>
__global__ void finish(const double* workspace, std::int64_t B, std::int64_t pieces,
                       bool has_latents, double beta, T* rows, T* loss) {
  __shared__ double scratch[32];
  double sum = 0;
  for (std::int64_t row = threadIdx.x; row < B; row += blockDim.x) {
    double total = 0;
    for (std::int64_t i = 0; i < pieces; ++i) total += workspace[row * pieces + i];
    rows[row] = static_cast<T>(total);
    if (loss) {
      sum += static_cast<double>(rows[row]);
      if (has_latents) sum += beta * workspace[B * pieces + row];
    }
  }
  if (loss) {
    sum = block_sum(sum, scratch);
    if (threadIdx.x == 0) *loss = static_cast<T>(sum / static_cast<double>(B));
  }
}

// At least one, whose block carries the row's latents.
inline std::int64_t pieces_of(std::int64_t P) { return P > 0 ? (P + kPiece - 1) / kPiece : 1; }

template <class Likelihood, class T, class Target>
void launch_pixels(const T* prediction, const Target* target, std::int64_t B, std::int64_t P,
                   double scale, double weight, double constant, const Latents<T>& latents,
                   double* workspace, T* gradient, cudaStream_t stream) {
  const std::int64_t pieces = pieces_of(P);
  const auto aligned = [](const void* pointer, std::size_t bytes) {
    return reinterpret_cast<std::uintptr_t>(pointer) % bytes == 0;
  };
  const bool packed = P % 4 == 0 && aligned(prediction, 4 * sizeof(T)) &&
                      aligned(target, 4 * sizeof(Target)) && aligned(gradient, 4 * sizeof(T));
  const auto kernel = packed ? pixels<Likelihood, 4, T, Target> : pixels<Likelihood, 1, T, Target>;
  kernel<<<static_cast<unsigned>(B * pieces), kThreads, 0, stream>>>(
      prediction, target, B, P, pieces, static_cast<T>(1.0 / (scale * scale)),
      static_cast<T>(weight), constant, latents, workspace, gradient);
  check_launch("elbo");
}

template <class T>
void rows(const T* prediction, const void* target, bool target_is_bytes, std::int64_t B,
          std::int64_t P, Likelihood likelihood, double scale, double weight,
          const Latents<T>& latents, double* workspace, T* gradient, cudaStream_t stream) {
  if (B == 0) return;
  const bool gaussian = likelihood == Likelihood::gaussian;
  const double constant =
      gaussian ? static_cast<double>(P) * (std::log(scale) + kHalfLogTwoPi) : 0.0;
  const auto* bytes = static_cast<const std::uint8_t*>(target);
  const auto* numbers = static_cast<const T*>(target);
  const auto launch = [&](auto likelihood, auto* typed) {
    launch_pixels<decltype(likelihood)>(prediction, typed, B, P, scale, weight, constant, latents,
                                        workspace, gradient, stream);
  };
  if (gaussian && target_is_bytes) launch(Gaussian{}, bytes);
  if (gaussian && !target_is_bytes) launch(Gaussian{}, numbers);
  if (!gaussian && target_is_bytes) launch(Bernoulli{}, bytes);
  if (!gaussian && !target_is_bytes) launch(Bernoulli{}, numbers);
}

}  // namespace vaebias::cuda
