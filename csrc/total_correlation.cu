// Densities of a batch under its own aggregate posterior on CUDA: a block owns eight rows and walks
// over tiles of 32 posteriors in shared memory. A warp turns its row's tile into joint weights,
// then threads take (row, latent) pairs; sums that follow a running maximum stay in registers, so
// that the B x B x d densities never exist. Slopes in the posteriors sum over rows instead: the
// same walk with the roles swapped. A second launch adds up what the blocks of one row, or
// posterior, found, in the order of their spans.
//
// Words of this file:
//   owner  what a warp sums for: a row z_i in the forward pass, a posterior j in the backward one.
//   tile   32 consecutive posteriors (backward: rows), a lane each, in shared memory [latent,
//   lane]. part   up to 32 latents whose sums a block keeps at a time; each part walks over all
//   tiles. turn   one load of a tile. The joint density takes all parts in their order and the sums
//   of this
//          part need its own latents, so that a part takes as many turns as there are parts, and
//          one more where the last one loaded is not its own.
//   span   consecutive posteriors (rows) that one block walks over; the second axis of the grid.
//   share  what one thread sums within a part: an (owner, latent) pair, or, where there are more
//          threads than pairs, a slice of the tile for it.
#include <cmath>

#include "cuda_common.cuh"
#include "normal.h"

namespace vaebias::cuda {
namespace {

constexpr int kOwners = 8;    // rows (or posteriors) of a block, a warp each
constexpr int kTile = 32;     // posteriors (or rows) a step, a lane each
constexpr int kLatents = 32;  // latents at a time: more are walked over again
constexpr int kThreads = kOwners * kTile;
// Numbers from latent to latent of a tile in shared memory. It is odd, so that threads that read
// different latents meet different banks; with 3 more than a tile, not 1, so do nearly all threads
// that store consecutive numbers of [kTile, 10].
constexpr int kStride = kTile + 3;

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

// Log weights of posteriors to a row, over those of others, by where they stand in a tile; and of
// rows to a posterior, the same with the roles swapped.
template <class T>
struct TileWeights {
  int own_at, next_at;
  T own, next;
  __device__ T operator()(int j) const { return j == own_at ? own : (j == next_at ? next : T(0)); }
};

template <class T>
struct Weights {
  std::int64_t B;
  T own, next;

  // Of a tile's posteriors [first, first + width) to row i: i's own, and that of its successor.
  __device__ TileWeights<T> of_row(std::int64_t i, std::int64_t first) const {
    return {place(i, first), place(i + 1 < B ? i + 1 : 0, first), own, next};
  }
  // Of a tile's rows to posterior j: j itself, and its predecessor.
  __device__ TileWeights<T> of_posterior(std::int64_t j, std::int64_t first) const {
    return {place(j, first), place(j > 0 ? j - 1 : B - 1, first), own, next};
  }

 private:
  __device__ static int place(std::int64_t at, std::int64_t first) {
    return at >= first && at < first + kTile ? static_cast<int>(at - first) : -1;
  }
};

// Divides numbers below a few thousand by one of at most 32, exactly, in two instructions.
struct Divisor {
  int by;
  float inverse;
  __device__ explicit Divisor(int by) : by(by), inverse(1.0f / static_cast<float>(by)) {}
  __device__ int quotient(int x) const {
    return static_cast<int>((static_cast<float>(x) + 0.5f) * inverse);
  }
  __device__ int remainder(int x, int quotient) const { return x - quotient * by; }
};

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

// The latents of each part.
struct Parts {
  std::int64_t d;
  __device__ std::int64_t count() const { return d > kLatents ? (d + kLatents - 1) / kLatents : 1; }
  __device__ int latents(std::int64_t part) const {
    return static_cast<int>(min(static_cast<std::int64_t>(kLatents), d - part * kLatents));
  }
  __device__ std::int64_t turns(std::int64_t part) const {
    return part == count() - 1 ? count() : count() + 1;
  }
  // Which part a turn loads.
  __device__ std::int64_t loaded(std::int64_t part, std::int64_t turn) const {
    return turn < count() ? turn : part;
  }
};

// Where a block stands: its owners, and the span that it walks over.
struct Walk {
  std::int64_t first_owner, span, begin, end;
  __device__ Walk(std::int64_t B, std::int64_t spans) {
    const std::int64_t tiles = (B + kTile - 1) / kTile;
    const std::int64_t length = (tiles + spans - 1) / spans * kTile;
    span = blockIdx.x % spans;
    first_owner = blockIdx.x / spans * kOwners;
    begin = span * length;
    end = min(B, begin + length);
  }
};

__device__ inline int warp_of_thread() { return static_cast<int>(threadIdx.x) / kTile; }
__device__ inline int lane_of_thread() { return static_cast<int>(threadIdx.x) % kTile; }

// What a block of rows shares while posteriors pass.
template <class T>
struct RowsShared {
  T mu[kLatents][kStride], scale[kLatents][kStride], height[kLatents][kStride];
  T z[kOwners][kLatents];
  T joint_weight[kOwners][kTile + 1];
  T joint_rescaling[kOwners];
  T slice_maximum[kThreads];
  double slice_sum[kThreads], slice_slope[kThreads], slice_joint_slope[kThreads];

  // One turn: posteriors [first, first + width) and the block's own rows, `count` latents from
  // `latent` on.
  __device__ void load(const T* z_of, const T* mu_of, const T* logvar_of, std::int64_t B,
                       std::int64_t d, std::int64_t first_row, std::int64_t first, int width,
                       std::int64_t latent, int count) {
    const int thread = static_cast<int>(threadIdx.x);
    const Divisor latents(count);
    for (int at = thread; at < count * width; at += kThreads) {
      const int j = latents.quotient(at), l = latents.remainder(at, j);
      const std::int64_t from = (first + j) * d + latent + l;
      mu[l][j] = mu_of[from];
      scale[l][j] = deviation_scale(logvar_of[from]);
      height[l][j] = -logvar_of[from] / 2;
    }
    for (int at = thread; at < kOwners * count; at += kThreads) {
      const int i = latents.quotient(at), l = latents.remainder(at, i);
      z[i][l] = z_of[min(first_row + i, B - 1) * d + latent + l];
    }
  }

  // log density of a row's z under posterior j of the tile, for one latent.
  __device__ T log_density(T z_l, int l, int j) const {
    const T u = (z_l - mu[l][j]) * scale[l][j];
    return height[l][j] - u * u;
  }
};

// A row's sum over posteriors of the joint density, relative to its running maximum; each lane of
// the warp sums its own posteriors.
template <class T>
struct JointSum {
  T maximum = static_cast<T>(-HUGE_VAL);
  double sum = 0;

  // Takes in a tile's log densities, a lane each, and leaves their weights in shared memory.
  __device__ void add(T log_density, RowsShared<T>* shared) {
    const int warp = warp_of_thread(), lane = lane_of_thread();
    const T to = fmax(maximum, warp_max(log_density));
    const T weight = exp(log_density - shift_of(to));
    shared->joint_weight[warp][lane] = weight;
    if (lane == 0) shared->joint_rescaling[warp] = rescaling(maximum, to);
    sum = sum * static_cast<double>(rescaling(maximum, to)) + static_cast<double>(weight);
    maximum = to;
  }
};

// What a thread sums for its share: one latent's density, relative to its running maximum, and the
// slopes in z of that and of the joint density.
template <class T>
struct LatentSum {
  T maximum = static_cast<T>(-HUGE_VAL);
  double sum = 0, slope = 0, joint_slope = 0;

  // log_density(j): of posterior j of the tile, its weight included.
  template <class LogDensity>
  __device__ void add(const RowsShared<T>& shared, const Share& share, T z_l, int width,
                      bool with_slopes, const LogDensity& log_density) {
    const int l = share.latent;
    T tile_maximum = maximum;
    for (int j = share.slice; j < width; j += share.split)
      tile_maximum = fmax(tile_maximum, log_density(j));
    const T shift = shift_of(tile_maximum);
    T tile_sum = 0, tile_slope = 0, tile_joint_slope = 0;
    for (int j = share.slice; j < width; j += share.split) {
      const T e = exp(log_density(j) - shift);
      tile_sum += e;
      if (with_slopes) {
        const T u = (z_l - shared.mu[l][j]) * shared.scale[l][j];
        tile_slope += weighted(e, u * shared.scale[l][j]);
        tile_joint_slope += weighted(shared.joint_weight[share.owner][j], u * shared.scale[l][j]);
      }
    }
    const double earlier = static_cast<double>(rescaling(maximum, tile_maximum));
    sum = sum * earlier + static_cast<double>(tile_sum);
    slope = slope * earlier + static_cast<double>(tile_slope);
    joint_slope = joint_slope * static_cast<double>(shared.joint_rescaling[share.owner]) +
                  static_cast<double>(tile_joint_slope);
    maximum = tile_maximum;
  }

  __device__ void publish(RowsShared<T>* shared) const {
    shared->slice_maximum[threadIdx.x] = maximum;
    shared->slice_sum[threadIdx.x] = sum;
    shared->slice_slope[threadIdx.x] = slope;
    shared->slice_joint_slope[threadIdx.x] = joint_slope;
  }

  // Adds the other slices of this thread's pair, in their order.
  __device__ void merge(const RowsShared<T>& shared, const Share& share, int pairs) {
    for (int other = static_cast<int>(threadIdx.x) + pairs; other < share.split * pairs;
         other += pairs) {
      const T to = fmax(maximum, shared.slice_maximum[other]);
      const double earlier = static_cast<double>(rescaling(maximum, to));
      const double fresh = static_cast<double>(rescaling(shared.slice_maximum[other], to));
      sum = sum * earlier + shared.slice_sum[other] * fresh;
      slope = slope * earlier + shared.slice_slope[other] * fresh;
      joint_slope += shared.slice_joint_slope[other];
      maximum = to;
    }
  }
};

// What a span leaves of a row: the joint density's sum and, of each latent, the density's sum and
// both slopes, all relative to the maxima beside them.
struct Partial {
  double maximum, sum, slope, joint_slope;
};

// The row's place in the workspace: two numbers of the joint density, then a Partial a latent.
__device__ inline double* partial_row(double* workspace, std::int64_t B, std::int64_t d,
                                      std::int64_t span, std::int64_t row) {
  return workspace + (span * B + row) * (4 * d + 2);
}

template <class T>
__global__ void densities_kernel(const T* z, const T* mu, const T* logvar, std::int64_t B,
                                 std::int64_t d, std::int64_t spans, Weights<T> weights,
                                 bool with_slopes, double* workspace) {
  __shared__ RowsShared<T> shared;
  const int warp = warp_of_thread(), lane = lane_of_thread();
  const Walk walk(B, spans);
  const std::int64_t first_row = walk.first_owner, row = first_row + warp;
  const Parts parts{d};

  for (std::int64_t part = 0; part < parts.count(); ++part) {
    const int latents = parts.latents(part);
    const Share share(latents);
    const std::int64_t own_row = min(first_row + share.owner, B - 1);
    const T own_z = share.any() ? z[own_row * d + part * kLatents + share.latent] : T(0);
    JointSum<T> joint;
    LatentSum<T> latent;

    for (std::int64_t first = walk.begin; first < walk.end; first += kTile) {
      const int width = static_cast<int>(min(static_cast<std::int64_t>(kTile), walk.end - first));
      T joint_density = row < B && lane < width ? weights.of_row(row, first)(lane) : T(0);
      for (std::int64_t turn = 0; turn < parts.turns(part); ++turn) {
        const std::int64_t loaded = parts.loaded(part, turn);
        const int count = parts.latents(loaded);
        __syncthreads();  // the tile may still be read
        shared.load(z, mu, logvar, B, d, first_row, first, width, loaded * kLatents, count);
        __syncthreads();
        const int fresh = turn < parts.count() && lane < width ? count : 0;
#pragma unroll 4
        for (int l = 0; l < fresh; ++l)
          joint_density += shared.log_density(shared.z[warp][l], l, lane);
      }
      joint.add(lane < width ? joint_density : static_cast<T>(-HUGE_VAL), &shared);
      __syncthreads();

      if (!share.any()) continue;
      const TileWeights<T> weight = weights.of_row(first_row + share.owner, first);
      latent.add(shared, share, own_z, width, with_slopes, [&](int j) {
        return weight(j) + shared.log_density(own_z, share.latent, j);
      });
    }

    const double sum_of_joint = warp_sum(joint.sum);
    if (part == 0 && lane == 0 && row < B) {
      double* const own = partial_row(workspace, B, d, walk.span, row);
      own[0] = static_cast<double>(joint.maximum);
      own[1] = sum_of_joint;
    }
    latent.publish(&shared);
    __syncthreads();
    const int pairs = kOwners * latents;
    if (static_cast<int>(threadIdx.x) < pairs) {
      latent.merge(shared, share, pairs);
      const std::int64_t i = first_row + share.owner, l = part * kLatents + share.latent;
      if (i < B) {
        Partial* const own =
            reinterpret_cast<Partial*>(partial_row(workspace, B, d, walk.span, i) + 2) + l;
        *own = {static_cast<double>(latent.maximum), latent.sum, latent.slope, latent.joint_slope};
      }
    }
    __syncthreads();
  }
}

// A warp adds up a row's spans in their order, a lane every 32nd latent.
template <class T>
__global__ void rows_of_spans(double* workspace, std::int64_t B, std::int64_t d,
                              std::int64_t spans, double others, T* log_qz, T* log_prod_qz,
                              T* normalisers, T* slopes) {
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * kOwners + warp_of_thread();
  if (row >= B) return;  // a whole warp
  double joint_maximum = -HUGE_VAL, joint_sum = 0;
  for (std::int64_t span = 0; span < spans; ++span) {
    const double* const own = partial_row(workspace, B, d, span, row);
    const double to = fmax(joint_maximum, own[0]);
    joint_sum = joint_sum * rescaling(joint_maximum, to) + own[1] * rescaling(own[0], to);
    joint_maximum = to;
  }
  double product = 0;
  for (std::int64_t l = lane_of_thread(); l < d; l += kTile) {
    Partial total{-HUGE_VAL, 0, 0, 0};
    for (std::int64_t span = 0; span < spans; ++span) {
      const double* const joint = partial_row(workspace, B, d, span, row);
      const Partial own = reinterpret_cast<const Partial*>(joint + 2)[l];
      const double to = fmax(total.maximum, own.maximum);
      const double earlier = rescaling(total.maximum, to), fresh = rescaling(own.maximum, to);
      total.sum = total.sum * earlier + own.sum * fresh;
      total.slope = total.slope * earlier + own.slope * fresh;
      total.joint_slope += own.joint_slope * rescaling(joint[0], joint_maximum);
      total.maximum = to;
    }
    const double log_sum = shift_of(total.maximum) + log(total.sum);
    normalisers[l * B + row] = static_cast<T>(log_sum);
    product += log_sum;
    if (slopes) {
      slopes[row * d + l] = static_cast<T>(-2 * total.joint_slope / joint_sum);
      slopes[(B + row) * d + l] = static_cast<T>(-2 * total.slope / total.sum);
    }
  }
  product = warp_sum(product);
  if (lane_of_thread() != 0) return;
  const double log_sum = shift_of(joint_maximum) + log(joint_sum);
  normalisers[d * B + row] = static_cast<T>(log_sum);
  log_qz[row] = static_cast<T>(log_sum + others - static_cast<double>(d) * kHalfLogTwoPi);
  log_prod_qz[row] = static_cast<T>(product + static_cast<double>(d) * (others - kHalfLogTwoPi));
}

// What a block of posteriors shares while rows pass.
template <class T>
struct PosteriorsShared {
  T z[kLatents][kStride], normaliser[kLatents][kStride];
  T mu[kOwners][kLatents], scale[kOwners][kLatents], height[kOwners][kLatents];
  T joint_weight[kOwners][kTile + 1];
  T grad_prod[kTile];
  double slice_u[kThreads], slice_square[kThreads];

  // One turn: rows [first, first + width) and the block's own posteriors, `count` latents from
  // `latent` on.
  __device__ void load(const T* z_of, const T* mu_of, const T* logvar_of, const T* normalisers,
                       const T* grad_prod_of, std::int64_t B, std::int64_t d,
                       std::int64_t first_owner, std::int64_t first, int width, std::int64_t latent,
                       int count) {
    const int thread = static_cast<int>(threadIdx.x);
    const Divisor latents(count), rows(width);
    for (int at = thread; at < count * width; at += kThreads) {
      const int of_row = latents.quotient(at), of_latent = rows.quotient(at);
      const int l = latents.remainder(at, of_row), i = rows.remainder(at, of_latent);
      z[l][of_row] = z_of[(first + of_row) * d + latent + l];
      normaliser[of_latent][i] = normalisers[(latent + of_latent) * B + first + i];
    }
    for (int at = thread; at < kOwners * count; at += kThreads) {
      const int j = latents.quotient(at), l = latents.remainder(at, j);
      const std::int64_t from = min(first_owner + j, B - 1) * d + latent + l;
      mu[j][l] = mu_of[from];
      scale[j][l] = deviation_scale(logvar_of[from]);
      height[j][l] = -logvar_of[from] / 2;
    }
    if (thread < width) grad_prod[thread] = grad_prod_of[first + thread];
  }

  // log density of row i of the tile under an owned posterior, for one latent.
  __device__ T log_density(int owner, int l, int i) const {
    const T u = (z[l][i] - mu[owner][l]) * scale[owner][l];
    return height[owner][l] - u * u;
  }
};

// What a thread sums for its share: u and u^2 - 1/2 of the rows, weighted by what their gradients
// give to this posterior.
template <class T>
struct PosteriorSum {
  double u = 0, square = 0;

  __device__ void add(const PosteriorsShared<T>& shared, const Share& share,
                      const TileWeights<T>& weight, int width, T own_mu, T own_scale,
                      T own_height) {
    const int l = share.latent;
    T tile_u = 0, tile_square = 0;
    for (int i = share.slice; i < width; i += share.split) {
      const T u = (shared.z[l][i] - own_mu) * own_scale;
      const T density = weight(i) + (own_height - u * u);
      const T joint_share = shared.joint_weight[share.owner][i];
      const T product_share = shared.grad_prod[i] * exp(density - shared.normaliser[l][i]);
      tile_u += weighted(joint_share + product_share, u);
      tile_square += weighted(joint_share + product_share, u * u - T(0.5));
    }
    u += static_cast<double>(tile_u);
    square += static_cast<double>(tile_square);
  }

  // Adds the other slices of this thread's pair, in their order.
  __device__ void merge(const PosteriorsShared<T>& shared, const Share& share, int pairs) {
    for (int other = static_cast<int>(threadIdx.x) + pairs; other < share.split * pairs;
         other += pairs) {
      u += shared.slice_u[other];
      square += shared.slice_square[other];
    }
  }
};

template <class T>
__global__ void posteriors_kernel(const T* z, const T* mu, const T* logvar, const T* normalisers,
                                  const T* grad_qz, const T* grad_prod, std::int64_t B,
                                  std::int64_t d, std::int64_t spans, Weights<T> weights,
                                  double* workspace) {
  __shared__ PosteriorsShared<T> shared;
  const int warp = warp_of_thread(), lane = lane_of_thread();
  const Walk walk(B, spans);
  const std::int64_t first_owner = walk.first_owner, owner = first_owner + warp;
  const Parts parts{d};

  for (std::int64_t part = 0; part < parts.count(); ++part) {
    const int latents = parts.latents(part);
    const Share share(latents);
    const std::int64_t own =
        min(first_owner + share.owner, B - 1) * d + part * kLatents + share.latent;
    const T own_mu = mu[own], own_scale = deviation_scale(logvar[own]),
            own_height = -logvar[own] / 2;
    PosteriorSum<T> total;

    for (std::int64_t first = walk.begin; first < walk.end; first += kTile) {
      const int width = static_cast<int>(min(static_cast<std::int64_t>(kTile), walk.end - first));
      T joint = owner < B && lane < width ? weights.of_posterior(owner, first)(lane) : T(0);
      for (std::int64_t turn = 0; turn < parts.turns(part); ++turn) {
        const std::int64_t loaded = parts.loaded(part, turn);
        const int count = parts.latents(loaded);
        __syncthreads();  // the tile may still be read
        shared.load(z, mu, logvar, normalisers, grad_prod, B, d, first_owner, first, width,
                    loaded * kLatents, count);
        __syncthreads();
        const int fresh = turn < parts.count() && lane < width ? count : 0;
#pragma unroll 4
        for (int l = 0; l < fresh; ++l) joint += shared.log_density(warp, l, lane);
      }
      T share_of_joint = 0;
      if (owner < B && lane < width) {
        share_of_joint = grad_qz[first + lane] * exp(joint - normalisers[d * B + first + lane]);
      }
      shared.joint_weight[warp][lane] = share_of_joint;
      __syncthreads();

      if (!share.any()) continue;
      const TileWeights<T> weight = weights.of_posterior(first_owner + share.owner, first);
      total.add(shared, share, weight, width, own_mu, own_scale, own_height);
    }

    shared.slice_u[threadIdx.x] = total.u;
    shared.slice_square[threadIdx.x] = total.square;
    __syncthreads();
    const int pairs = kOwners * latents;
    if (static_cast<int>(threadIdx.x) < pairs && first_owner + share.owner < B) {
      total.merge(shared, share, pairs);
      double* const sums = workspace + walk.span * 2 * B * d;
      sums[own] = static_cast<double>(own_scale) * (2 * total.u);
      sums[B * d + own] = total.square;
    }
    __syncthreads();
  }
}

// Adds up the spans of each gradient in their order, and weighs the slopes of the samples.
template <class T>
__global__ void gradients_of_spans(const double* workspace, const T* slopes, const T* grad_qz,
                                   const T* grad_prod, std::int64_t B, std::int64_t d,
                                   std::int64_t spans, T* grad_z, T* grad_mu, T* grad_logvar) {
  const std::int64_t i = global_thread(), size = B * d;
  if (i >= size) return;
  if (grad_z) grad_z[i] = grad_qz[i / d] * slopes[i] + grad_prod[i / d] * slopes[size + i];
  if (!grad_mu) return;
  double mu = 0, logvar = 0;
  for (std::int64_t span = 0; span < spans; ++span) {
    mu += workspace[2 * span * size + i];
    logvar += workspace[(2 * span + 1) * size + i];
  }
  grad_mu[i] = static_cast<T>(mu);
  grad_logvar[i] = static_cast<T>(logvar);
}

}  // namespace

template <class T>
void total_correlation(const T* z, const T* mu, const T* logvar, std::int64_t B, std::int64_t d,
                       double own, double next, double others, double* workspace, T* log_qz,
                       T* log_prod_qz, T* normalisers, T* slopes, Stream stream) {
  if (B == 0) return;
  const Weights<T> weights{B, static_cast<T>(own), static_cast<T>(next)};
  const std::int64_t spans = total_correlation_spans(B);
  const unsigned rows = blocks_for(B, kOwners);
  densities_kernel<<<blocks_for(spans * rows, 1), kThreads, 0, native(stream)>>>(
      z, mu, logvar, B, d, spans, weights, slopes != nullptr, workspace);
  check_launch("total_correlation");
  rows_of_spans<<<rows, kThreads, 0, native(stream)>>>(workspace, B, d, spans, others, log_qz,
                                                       log_prod_qz, normalisers, slopes);
  check_launch("total_correlation");
}

template <class T>
void total_correlation_backward(const T* z, const T* mu, const T* logvar, const T* normalisers,
                                const T* slopes, const T* grad_qz, const T* grad_prod,
                                std::int64_t B, std::int64_t d, double own, double next,
                                double* workspace, T* grad_z, T* grad_mu, T* grad_logvar,
                                Stream stream) {
  if (B == 0 || d == 0) return;
  const Weights<T> weights{B, static_cast<T>(own), static_cast<T>(next)};
  const std::int64_t spans = total_correlation_spans(B);
  if (grad_mu) {
    posteriors_kernel<<<blocks_for(spans * blocks_for(B, kOwners), 1), kThreads, 0,
                        native(stream)>>>(z, mu, logvar, normalisers, grad_qz, grad_prod, B, d,
                                          spans, weights, workspace);
    check_launch("total_correlation_backward");
  }
  gradients_of_spans<<<blocks_for(B * d, kThreads), kThreads, 0, native(stream)>>>(
      workspace, slopes, grad_qz, grad_prod, B, d, spans, grad_z, grad_mu, grad_logvar);
  check_launch("total_correlation_backward");
}

VAEBIAS_FLOAT_AND_DOUBLE(total_correlation)
VAEBIAS_FLOAT_AND_DOUBLE(total_correlation_backward)

}  // namespace vaebias::cuda
