// Densities of a batch under its own aggregate posterior on CUDA: a block owns eight rows and walks
// over tiles of 32 posteriors in shared memory. A warp turns its row's tile into joint weights,
// then threads take (row, latent) pairs; sums that follow a running maximum stay in registers, so
// that the B x B x d densities never exist. Slopes in the posteriors sum over rows instead: the
// same walk with the roles swapped.
#include <cmath>

#include "cuda_common.cuh"

namespace vaebias::cuda {
namespace {

constexpr int kOwners = 8;    // rows (or posteriors) of a block, a warp each
constexpr int kTile = 32;     // posteriors (or rows) a step, a lane each
constexpr int kLatents = 32;  // latents at a time: more are walked over again
constexpr int kThreads = kOwners * kTile;

// log N(z; mu, e^logvar) + log(2 pi)/2 is height - u^2 with u = (z - mu) scale. Scaled before it
// is squared, u overflows only where the density is zero.
template <class T>
__device__ inline T scale_of(T logvar) {
  return static_cast<T>(kSqrtHalf) * exp(-logvar / 2);
}

// What sums relative to the maximum `from` are multiplied by to be relative to `to`.
template <class T>
__device__ inline T rescaling(T from, T to) {
  return from == to ? T(1) : exp(from - to);
}

// Where nothing was finite yet, shifting by the maximum would make NaN of -infinity.
template <class T>
__device__ inline T shift_of(T maximum) {
  return maximum == static_cast<T>(-HUGE_VAL) ? T(0) : maximum;
}

// weight times slope, where no slope, even an infinite one, counts without weight.
template <class T>
__device__ inline T weighted(T weight, T slope) {
  return weight == T(0) ? T(0) : weight * slope;
}

// Log weight of posterior j to row i, over that of others.
template <class T>
struct Weights {
  std::int64_t B;
  T own, next;
  __device__ T operator()(std::int64_t i, std::int64_t j) const {
    return j == i ? own : (j == (i + 1 < B ? i + 1 : 0) ? next : T(0));
  }
};

template <class T>
__device__ inline T warp_max(T value) {
  for (int step = 16; step > 0; step /= 2)
    value = fmax(value, __shfl_xor_sync(0xffffffffu, value, step));
  return value;
}

// Which (owner, latent) this thread sums for, of `latents` at a time; where there are more threads
// than pairs, which slice of the tile.
struct Share {
  int split, slice, owner, latent;
  __device__ explicit Share(int latents) {
    const int pairs = max(kOwners * latents, 1), thread = static_cast<int>(threadIdx.x);
    split = latents > 0 ? kThreads / pairs : 0;
    slice = thread / pairs;
    owner = thread % pairs / max(latents, 1);
    latent = thread % pairs % max(latents, 1);
  }
  __device__ bool any() const { return slice < split; }
};

template <class T>
__global__ void densities_kernel(const T* z, const T* mu, const T* logvar, std::int64_t B,
                                 std::int64_t d, Weights<T> weights, double others, T* log_qz,
                                 T* log_prod_qz, T* normalisers, T* slopes) {
  __shared__ T tile_mu[kLatents][kTile + 1], tile_scale[kLatents][kTile + 1],
      tile_height[kLatents][kTile + 1];
  __shared__ T tile_z[kOwners][kLatents];
  __shared__ T joint_weight[kOwners][kTile + 1];
  __shared__ T joint_rescaling[kOwners];
  __shared__ double joint_sum[kOwners];
  __shared__ T slice_maximum[kThreads];
  __shared__ double slice_sum[kThreads], slice_slope[kThreads], slice_joint_slope[kThreads];
  const int thread = static_cast<int>(threadIdx.x), warp = thread / kTile, lane = thread % kTile;
  const std::int64_t first_row = static_cast<std::int64_t>(blockIdx.x) * kOwners,
                     row = first_row + warp;
  const std::int64_t parts = d > kLatents ? (d + kLatents - 1) / kLatents : 1;
  double product = 0;  // thread `lane` 0 of each warp: the row's sum over latents

  for (std::int64_t part = 0; part < parts; ++part) {
    const auto latents_of = [&](std::int64_t which) {
      return static_cast<int>(min(static_cast<std::int64_t>(kLatents), d - which * kLatents));
    };
    const int latents = latents_of(part);
    const std::int64_t turns = part == parts - 1 ? parts : parts + 1;
    const Share share(latents);
    const std::int64_t own_row = min(first_row + share.owner, B - 1);
    const T own_z = share.any() ? z[own_row * d + part * kLatents + share.latent] : T(0);
    T joint_maximum = static_cast<T>(-HUGE_VAL), maximum = joint_maximum;
    double sum_of_joint = 0, sum = 0, slope = 0, joint_slope = 0;

    for (std::int64_t first = 0; first < B; first += kTile) {
      const int width = static_cast<int>(min(static_cast<std::int64_t>(kTile), B - first));
      // The joint density takes all latents, in their order; this part's tile is left behind.
      T joint = row < B && lane < width ? weights(row, first + lane) : T(0);
      for (std::int64_t turn = 0; turn < turns; ++turn) {
        const std::int64_t which = turn < parts ? turn : part;
        const int count = latents_of(which);
        __syncthreads();  // the tile may still be read
        for (int at = thread; at < count * width; at += kThreads) {
          const int j = at / count, l = at % count;
          const std::int64_t from = (first + j) * d + which * kLatents + l;
          tile_mu[l][j] = mu[from];
          tile_scale[l][j] = scale_of(logvar[from]);
          tile_height[l][j] = -logvar[from] / 2;
        }
        for (int at = thread; at < kOwners * count; at += kThreads) {
          const std::int64_t from = min(first_row + at / count, B - 1);
          tile_z[at / count][at % count] = z[from * d + which * kLatents + at % count];
        }
        __syncthreads();
        for (int l = 0; turn < parts && l < count && lane < width; ++l) {
          const T u = (tile_z[warp][l] - tile_mu[l][lane]) * tile_scale[l][lane];
          joint += tile_height[l][lane] - u * u;
        }
      }
      if (lane >= width) joint = static_cast<T>(-HUGE_VAL);
      const T to = fmax(joint_maximum, warp_max(joint));
      const T weight = exp(joint - shift_of(to));
      joint_weight[warp][lane] = weight;
      if (lane == 0) joint_rescaling[warp] = rescaling(joint_maximum, to);
      sum_of_joint = sum_of_joint * static_cast<double>(rescaling(joint_maximum, to)) +
                     static_cast<double>(weight);
      joint_maximum = to;
      __syncthreads();

      if (!share.any()) continue;
      const int l = share.latent;
      const auto density = [&](int j) {
        const T u = (own_z - tile_mu[l][j]) * tile_scale[l][j];
        return weights(first_row + share.owner, first + j) + (tile_height[l][j] - u * u);
      };
      T tile_maximum = maximum;
      for (int j = share.slice; j < width; j += share.split)
        tile_maximum = fmax(tile_maximum, density(j));
      const T shift = shift_of(tile_maximum);
      T tile_sum = 0, tile_slope = 0, tile_joint_slope = 0;
      for (int j = share.slice; j < width; j += share.split) {
        const T e = exp(density(j) - shift);
        tile_sum += e;
        if (slopes) {
          const T u = (own_z - tile_mu[l][j]) * tile_scale[l][j];
          tile_slope += weighted(e, u * tile_scale[l][j]);
          tile_joint_slope += weighted(joint_weight[share.owner][j], u * tile_scale[l][j]);
        }
      }
      const double earlier = static_cast<double>(rescaling(maximum, tile_maximum));
      sum = sum * earlier + static_cast<double>(tile_sum);
      slope = slope * earlier + static_cast<double>(tile_slope);
      joint_slope = joint_slope * static_cast<double>(joint_rescaling[share.owner]) +
                    static_cast<double>(tile_joint_slope);
      maximum = tile_maximum;
    }

    sum_of_joint = warp_sum(sum_of_joint);
    if (lane == 0) joint_sum[warp] = sum_of_joint;
    slice_maximum[thread] = maximum;
    slice_sum[thread] = sum;
    slice_slope[thread] = slope;
    slice_joint_slope[thread] = joint_slope;
    __syncthreads();
    const int pairs = kOwners * latents;
    if (thread < pairs) {
      for (int other = thread + pairs; other < share.split * pairs; other += pairs) {
        const T to = fmax(maximum, slice_maximum[other]);
        const double earlier = static_cast<double>(rescaling(maximum, to));
        const double fresh = static_cast<double>(rescaling(slice_maximum[other], to));
        sum = sum * earlier + slice_sum[other] * fresh;
        slope = slope * earlier + slice_slope[other] * fresh;
        joint_slope += slice_joint_slope[other];
        maximum = to;
      }
      const std::int64_t i = first_row + share.owner, l = part * kLatents + share.latent;
      const double log_sum = static_cast<double>(shift_of(maximum)) + log(sum);
      if (i < B) {
        normalisers[l * B + i] = static_cast<T>(log_sum);
        if (slopes) {
          slopes[i * d + l] = static_cast<T>(-2 * joint_slope / joint_sum[share.owner]);
          slopes[(B + i) * d + l] = static_cast<T>(-2 * slope / sum);
        }
      }
      slice_sum[thread] = log_sum;
    }
    __syncthreads();
    for (int l = 0; lane == 0 && l < latents; ++l) product += slice_sum[warp * latents + l];
    if (part == parts - 1 && lane == 0 && row < B) {
      const double log_sum = static_cast<double>(shift_of(joint_maximum)) + log(sum_of_joint);
      normalisers[d * B + row] = static_cast<T>(log_sum);
      log_qz[row] = static_cast<T>(log_sum + others - static_cast<double>(d) * kHalfLogTwoPi);
      log_prod_qz[row] =
          static_cast<T>(product + static_cast<double>(d) * (others - kHalfLogTwoPi));
    }
  }
}

template <class T>
__global__ void posteriors_kernel(const T* z, const T* mu, const T* logvar, const T* normalisers,
                                  const T* grad_qz, const T* grad_prod, std::int64_t B,
                                  std::int64_t d, Weights<T> weights, T* grad_mu, T* grad_logvar) {
  __shared__ T tile_z[kLatents][kTile + 1], tile_normaliser[kLatents][kTile + 1];
  __shared__ T tile_mu[kOwners][kLatents], tile_scale[kOwners][kLatents],
      tile_height[kOwners][kLatents];
  __shared__ T joint_weight[kOwners][kTile + 1];
  __shared__ T tile_grad[kTile];
  __shared__ double slice_u[kThreads], slice_square[kThreads];
  const int thread = static_cast<int>(threadIdx.x), warp = thread / kTile, lane = thread % kTile;
  const std::int64_t first_owner = static_cast<std::int64_t>(blockIdx.x) * kOwners,
                     owner = first_owner + warp;
  const std::int64_t parts = (d + kLatents - 1) / kLatents;

  for (std::int64_t part = 0; part < parts; ++part) {
    const auto latents_of = [&](std::int64_t which) {
      return static_cast<int>(min(static_cast<std::int64_t>(kLatents), d - which * kLatents));
    };
    const int latents = latents_of(part);
    const std::int64_t turns = part == parts - 1 ? parts : parts + 1;
    const Share share(latents);
    const std::int64_t own =
        min(first_owner + share.owner, B - 1) * d + part * kLatents + share.latent;
    const T own_mu = mu[own], own_scale = scale_of(logvar[own]), own_height = -logvar[own] / 2;
    double sum_u = 0, sum_square = 0;

    for (std::int64_t first = 0; first < B; first += kTile) {
      const int width = static_cast<int>(min(static_cast<std::int64_t>(kTile), B - first));
      T joint = owner < B && lane < width ? weights(first + lane, owner) : T(0);
      for (std::int64_t turn = 0; turn < turns; ++turn) {
        const std::int64_t which = turn < parts ? turn : part;
        const int count = latents_of(which);
        __syncthreads();  // the tile may still be read
        for (int at = thread; at < count * width; at += kThreads) {
          tile_z[at % count][at / count] =
              z[(first + at / count) * d + which * kLatents + at % count];
          tile_normaliser[at / width][at % width] =
              normalisers[(which * kLatents + at / width) * B + first + at % width];
        }
        for (int at = thread; at < kOwners * count; at += kThreads) {
          const std::int64_t from =
              min(first_owner + at / count, B - 1) * d + which * kLatents + at % count;
          tile_mu[at / count][at % count] = mu[from];
          tile_scale[at / count][at % count] = scale_of(logvar[from]);
          tile_height[at / count][at % count] = -logvar[from] / 2;
        }
        if (thread < width) tile_grad[thread] = grad_prod[first + thread];
        __syncthreads();
        for (int l = 0; turn < parts && l < count && lane < width; ++l) {
          const T u = (tile_z[l][lane] - tile_mu[warp][l]) * tile_scale[warp][l];
          joint += tile_height[warp][l] - u * u;
        }
      }
      T share_of_joint = 0;
      if (owner < B && lane < width) {
        share_of_joint = grad_qz[first + lane] * exp(joint - normalisers[d * B + first + lane]);
      }
      joint_weight[warp][lane] = share_of_joint;
      __syncthreads();

      if (!share.any()) continue;
      const int l = share.latent;
      T tile_u = 0, tile_square = 0;
      for (int i = share.slice; i < width; i += share.split) {
        const T u = (tile_z[l][i] - own_mu) * own_scale;
        const T density = weights(first + i, first_owner + share.owner) + (own_height - u * u);
        const T joint_share = joint_weight[share.owner][i];
        const T product_share = tile_grad[i] * exp(density - tile_normaliser[l][i]);
        tile_u += weighted(joint_share + product_share, u);
        tile_square += weighted(joint_share + product_share, u * u - T(0.5));
      }
      sum_u += static_cast<double>(tile_u);
      sum_square += static_cast<double>(tile_square);
    }

    slice_u[thread] = sum_u;
    slice_square[thread] = sum_square;
    __syncthreads();
    const int pairs = kOwners * latents;
    if (thread < pairs && first_owner + share.owner < B) {
      for (int other = thread + pairs; other < share.split * pairs; other += pairs) {
        sum_u += slice_u[other];
        sum_square += slice_square[other];
      }
      grad_mu[own] = static_cast<T>(2 * static_cast<double>(own_scale) * sum_u);
      grad_logvar[own] = static_cast<T>(sum_square);
    }
    __syncthreads();
  }
}

}  // namespace

template <class T>
void total_correlation(const T* z, const T* mu, const T* logvar, std::int64_t B, std::int64_t d,
                       double own, double next, double others, T* log_qz, T* log_prod_qz,
                       T* normalisers, T* slopes, Stream stream) {
  if (B == 0) return;
  const Weights<T> weights{B, static_cast<T>(own), static_cast<T>(next)};
  densities_kernel<<<blocks_for(B, kOwners), kThreads, 0, native(stream)>>>(
      z, mu, logvar, B, d, weights, others, log_qz, log_prod_qz, normalisers, slopes);
  check_launch("total_correlation");
}

template <class T>
void total_correlation_backward(const T* z, const T* mu, const T* logvar, const T* normalisers,
                                const T* grad_qz, const T* grad_prod, std::int64_t B,
                                std::int64_t d, double own, double next, T* grad_mu, T* grad_logvar,
                                Stream stream) {
  if (B == 0 || d == 0) return;
  const Weights<T> weights{B, static_cast<T>(own), static_cast<T>(next)};
  posteriors_kernel<<<blocks_for(B, kOwners), kThreads, 0, native(stream)>>>(
      z, mu, logvar, normalisers, grad_qz, grad_prod, B, d, weights, grad_mu, grad_logvar);
  check_launch("total_correlation_backward");
}

VAEBIAS_FLOAT_AND_DOUBLE(total_correlation)
VAEBIAS_FLOAT_AND_DOUBLE(total_correlation_backward)

}  // namespace vaebias::cuda
