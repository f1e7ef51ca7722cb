// Reconstruction losses on CUDA. Each pixel is read once: its loss and its gradient come from the
// same exponential, the gradient is written at once and the loss stays in registers. A block sums
// one piece of a row; the last block to arrive adds pieces to rows and rows to the loss. All sums
// run in a fixed order.
#include <cmath>
#include <stdexcept>
#include <type_traits>

#include "likelihoods.h"
#include "nll_rows.cuh"
#include "normal.h"
#include "storage.cuh"

namespace vaebias::cuda {
namespace {

// Packs of pixels that a thread loads before it computes any. Blocks are small, so that while one
// waits for its threads to add up, others load.
constexpr int kAhead = 4;
constexpr int kMostThreads = 256;

struct Functions {
  template <class T>
  VAEBIAS_HOST_DEVICE_INLINE static T exp_nonpositive(T x) {
    return exp(x);
  }
  // Within 1 ulp; the compiler's own division has a slow path for other x.
  VAEBIAS_HOST_DEVICE_INLINE static float reciprocal_of_one_to_two(float x) {
#if defined(__NVCC__) && defined(__CUDA_ARCH__)
    float close;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(close) : "f"(x));
#else
    const float close = 1.0f / x;
#endif
    return fmaf(close, fmaf(-x, close, 1.0f), close);
  }
  VAEBIAS_HOST_DEVICE_INLINE static double reciprocal_of_one_to_two(double x) { return 1 / x; }
};

// At least one, whose block carries the row's latents.
inline std::int64_t pieces_of(std::int64_t P) { return P > 0 ? (P + kPiece - 1) / kPiece : 1; }

// What is added up at the end, laid out in the workspace.
struct Sums {
  double* pieces;     // [B, pieces]
  double* kl;         // [B]
  unsigned* arrived;  // blocks so far
  std::int64_t B, per_row;

  Sums(double* workspace, std::int64_t B, std::int64_t per_row)
      : pieces(workspace),
        kl(workspace + B * per_row),
        arrived(reinterpret_cast<unsigned*>(kl + B)),
        B(B),
        per_row(per_row) {}
};

// KL of the row's latents and their gradients; the sum is thread 0's.
template <class T>
__device__ double latents_of_row(const Latents<T>& latents, std::int64_t row, double* scratch) {
  double sum = 0;
  for (std::int64_t i = threadIdx.x; i < latents.d; i += blockDim.x) {
    const std::int64_t at = row * latents.d + i;
    const T mu = latents.mu[at], logvar = latents.logvar[at];
    const T kl = kl_standard_normal(mu, logvar);
    latents.kl[at] = kl;
    sum += static_cast<double>(kl);
    if (latents.grad_mu) {
      latents.grad_mu[at] = latents.weight * mu;
      latents.grad_logvar[at] = latents.weight * expm1(logvar) / 2;
    }
  }
  return block_sum(sum, scratch);
}

// Rows from their pieces, the loss from the rows (null: rows only); by one block. A thread takes
// several rows side by side: their pieces are read, not waited for, one after the other.
template <class T>
__device__ void finish(const Sums& sums, bool has_latents, double beta, T* rows, T* loss,
                       double* scratch) {
  double sum = 0;
  for (std::int64_t first = threadIdx.x; first < sums.B; first += kAhead * blockDim.x) {
    double totals[kAhead] = {};
    for (std::int64_t i = 0; i < sums.per_row; ++i) {
#pragma unroll
      for (int u = 0; u < kAhead; ++u) {
        const std::int64_t row = first + u * static_cast<std::int64_t>(blockDim.x);
        if (row < sums.B) totals[u] += __ldcg(sums.pieces + row * sums.per_row + i);
      }
    }
#pragma unroll
    for (int u = 0; u < kAhead; ++u) {
      const std::int64_t row = first + u * static_cast<std::int64_t>(blockDim.x);
      if (row >= sums.B) break;
      const T rounded = static_cast<T>(totals[u]);
      rows[row] = rounded;
      if (loss) {
        sum += static_cast<double>(rounded);
        if (has_latents) sum += beta * __ldcg(sums.kl + row);
      }
    }
  }
  if (!loss) return;
  sum = block_sum(sum, scratch);
  if (threadIdx.x == 0) *loss = static_cast<T>(sum / static_cast<double>(sums.B));
}

// Block (row, piece); a thread takes neighbouring pixels at once. `packed`: they may be read and
// written as one, which changes no sum.
template <class Likelihood, bool packed, class T, class Prediction, class Target>
__global__ void __launch_bounds__(kMostThreads)
    pixels(const Prediction* prediction, const Target* target, std::int64_t P, T inverse_variance,
           T weight, double constant, Latents<T> latents, Sums sums, Prediction* gradient, T* rows,
           T* loss) {
  __shared__ double scratch[32];
  __shared__ bool last;
  constexpr int width = kPackWidth<T>;
  constexpr int ahead = packed ? kAhead : 1;  // one by one they would not fit into registers
  // Bytes are in range.
  constexpr bool look = Likelihood::kBounded && !std::is_same_v<Target, std::uint8_t>;
  bool outside = false;
  const unsigned per_row = static_cast<unsigned>(sums.per_row);  // as blocks, it fits
  const std::int64_t row = blockIdx.x / per_row, piece = blockIdx.x % per_row;
  // Within the piece 32 bits do.
  const int size = static_cast<int>(min(P - piece * kPiece, kPiece));
  const int stride = static_cast<int>(blockDim.x) * width;
  const std::int64_t start = row * P + piece * kPiece;
  prediction += start;
  target += start;
  gradient = gradient ? gradient + start : nullptr;
  double sum = 0;
  for (int first = static_cast<int>(threadIdx.x) * width; first < size; first += ahead * stride) {
    Pack<Prediction, width> predictions[ahead];
    Pack<Target, width> targets[ahead];
#pragma unroll
    for (int u = 0; u < ahead; ++u) {
      const int p = first + u * stride;
      if (p >= size) break;
      predictions[u] = load_pack<packed, width>(prediction + p, size - p);
      targets[u] = load_pack<packed, width>(target + p, size - p);
    }
#pragma unroll
    for (int u = 0; u < ahead; ++u) {
      const int p = first + u * stride;
      if (p >= size) break;
      Pack<Prediction, width> slopes;
      T values = 0;
#pragma unroll
      for (int i = 0; i < width; ++i) {
        T slope;
        const T t = widened<T>(targets[u].value[i]);
        const T value = Likelihood::value_and_slope(widened<T>(predictions[u].value[i]), t,
                                                    inverse_variance, &slope);
        narrow(slope * weight, &slopes.value[i]);
        const bool there = packed || p + i < size;
        if (there) values += value;
        if (look && there) outside |= t < T(-kTargetTolerance) || t > T(1 + kTargetTolerance);
      }
      sum += static_cast<double>(values);
      if (gradient) store_pack<packed>(gradient + p, slopes, size - p);
    }
  }
  sum = block_sum(outside ? nan("") : sum, scratch);
  if (threadIdx.x == 0) sums.pieces[blockIdx.x] = sum + (piece == 0 ? constant : 0.0);
  if (piece == 0 && latents.d > 0) {
    const double kl = latents_of_row(latents, row, scratch);
    if (threadIdx.x == 0) sums.kl[row] = kl;
  }
  if (threadIdx.x == 0) {
    __threadfence();  // what this block wrote is there before it counts as arrived
    last = atomicAdd(sums.arrived, 1u) == gridDim.x - 1;
  }
  __syncthreads();
  if (!last) return;
  __threadfence();
  finish(sums, latents.d > 0, latents.beta, rows, loss, scratch);
}

// No rows: nothing to sum, and a loss of nothing that is NaN, as a mean of nothing is.
template <class T>
__global__ void no_rows(T* loss) {
  *loss = static_cast<T>(nan(""));
}

template <class Likelihood, class T, class Prediction, class Target>
void launch_pixels(const Prediction* prediction, const Target* target, std::int64_t P, double scale,
                   double weight, double constant, const Latents<T>& latents, const Sums& sums,
                   Prediction* gradient, T* rows, T* loss, cudaStream_t stream) {
  constexpr int width = kPackWidth<T>;
  const bool whole = P % width == 0 && is_aligned<width>(prediction) &&
                     is_aligned<width>(target) && is_aligned<width>(gradient);
  // As many threads as a piece has work for.
  const std::int64_t packs = ((P < kPiece ? P : kPiece) + width - 1) / width;
  const std::int64_t needed = ((packs + kAhead - 1) / kAhead + 31) / 32 * 32;
  const int threads = static_cast<int>(needed < kMostThreads ? (needed > 0 ? needed : 32)
                                                             : kMostThreads);
  const auto kernel = whole ? pixels<Likelihood, true, T, Prediction, Target>
                            : pixels<Likelihood, false, T, Prediction, Target>;
  const unsigned blocks = blocks_for(sums.B * sums.per_row, 1);
  check(cudaMemsetAsync(sums.arrived, 0, sizeof(unsigned), stream), "pixels");
  kernel<<<blocks, threads, 0, stream>>>(prediction, target, P,
                                         static_cast<T>(1.0 / (scale * scale)),
                                         static_cast<T>(weight), constant, latents, sums, gradient,
                                         rows, loss);
  check_launch("pixels");
}

}  // namespace

template <class T>
void rows_of_pixels(const void* prediction, Storage predictions, const void* target,
                    Storage targets, std::int64_t B, std::int64_t P, Likelihood likelihood,
                    double scale, double weight, const Latents<T>& latents, double* workspace,
                    void* gradient, T* rows, T* loss, cudaStream_t stream) {
  if (B == 0) {
    if (!loss) return;
    no_rows<<<1, 1, 0, stream>>>(loss);
    return check_launch("pixels");
  }
  const Sums sums(workspace, B, pieces_of(P));
  const bool gaussian = likelihood == Likelihood::gaussian;
  const double constant =
      gaussian ? static_cast<double>(P) * (std::log(scale) + kHalfLogTwoPi) : 0.0;
  const auto launch = [&](auto* of_prediction, auto* of_target) {
    using Prediction = std::remove_pointer_t<decltype(of_prediction)>;
    using Target = std::remove_pointer_t<decltype(of_target)>;
    const auto launch_for = [&](auto likelihood) {
      launch_pixels<decltype(likelihood)>(
          static_cast<const Prediction*>(prediction), static_cast<const Target*>(target), P, scale,
          weight, constant, latents, sums, static_cast<Prediction*>(gradient), rows, loss, stream);
    };
    if (gaussian) {
      launch_for(Gaussian{});
    } else {
      launch_for(Bernoulli<Functions>{});
    }
  };
  // Targets are bytes, numbers of T, or stored as the predictions are.
  const auto launch_of = [&](auto* of_prediction) {
    using Prediction = std::remove_pointer_t<decltype(of_prediction)>;
    if (targets == Storage::bytes) return launch(of_prediction, static_cast<std::uint8_t*>(nullptr));
    if (targets == Storage::same) return launch(of_prediction, static_cast<T*>(nullptr));
    if constexpr (!std::is_same_v<Prediction, T>) {
      if (targets == predictions) return launch(of_prediction, of_prediction);
    }
    throw std::invalid_argument("targets are stored neither as bytes, nor as numbers, nor as the "
                                "predictions");
  };
  if constexpr (std::is_same_v<T, float>) {
    if (predictions == Storage::half) return launch_of(static_cast<__half*>(nullptr));
    if (predictions == Storage::bfloat16) return launch_of(static_cast<__nv_bfloat16*>(nullptr));
  }
  if (predictions != Storage::same) {
    throw std::invalid_argument("predictions are stored as numbers that this kernel does not read");
  }
  launch_of(static_cast<T*>(nullptr));
}

template <class T>
void nll(const void* prediction, Storage predictions, const void* target, Storage targets,
         std::int64_t B, std::int64_t P, Likelihood likelihood, double scale, double weight,
         double* workspace, T* nll, void* gradient, Stream stream) {
  rows_of_pixels<T>(prediction, predictions, target, targets, B, P, likelihood, scale, weight,
                    Latents<T>{}, workspace, gradient, nll, nullptr, native(stream));
}

VAEBIAS_FLOAT_AND_DOUBLE(rows_of_pixels)
VAEBIAS_FLOAT_AND_DOUBLE(nll)

}  // namespace vaebias::cuda
