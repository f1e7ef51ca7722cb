// From Jacobian to numbers on CUDA, one block a point and one launch in all: the block reads the
// Jacobian once and leaves its Gram in shared memory, then the first warp turns that into principal
// directions and their assignment to latents (gram_solver.h) without leaving the chip.
#include <cmath>

#include "cuda_common.cuh"
#include "gram_solver.h"

namespace vaebias::cuda {
namespace {

struct Warp {
  static constexpr int lanes = 32;
  __device__ int lane() const { return static_cast<int>(threadIdx.x) % 32; }
  __device__ void sync() const { __syncwarp(); }
  // Every lane gets the least value; the lowest index among equals, as on the CPU.
  __device__ Least least(Least own) const {
    for (int step = 16; step > 0; step /= 2) {
      const Least other{__shfl_xor_sync(0xffffffffu, own.value, step),
                        __shfl_xor_sync(0xffffffffu, own.index, step)};
      if (other.value < own.value || (other.value == own.value && other.index < own.index))
        own = other;
    }
    return own;
  }
};

template <class T>
__global__ void alignment_kernel(const T* jacobian, bool latents_first, const std::uint8_t* active,
                                 std::int64_t P, int d, T* gram, T* singular_values, T* v,
                                 T* distance, std::int64_t* permutation, T* ima_contrast) {
  extern __shared__ double memory[];  // the tile while reading, then the solver's space
  __shared__ double slices[kGramThreads];
  __shared__ double full[kMaxColumns * (kMaxColumns + 1) / 2];
  __shared__ int latents[kMaxColumns];
  __shared__ int active_latents;
  __shared__ int broken;
  const std::int64_t b = blockIdx.x;
  if (threadIdx.x == 0) {
    broken = 0;
    active_latents = 0;
    for (int i = 0; i < d; ++i) {
      if (!active || active[b * d + i]) latents[active_latents++] = i;
    }
  }
  __syncthreads();
  const T* const own = jacobian + b * P * d;
  gram_of_columns(
      d, P, !latents_first, memory, slices,
      [&](int i, std::int64_t p) {
        return static_cast<double>(latents_first ? own[i * P + p] : own[p * d + i]);
      },
      [&](int i, int j, double sum) {
        full[i * (i + 1) / 2 + j] = sum;
        gram[(b * d + i) * d + j] = gram[(b * d + j) * d + i] = static_cast<T>(sum);
        if (!isfinite(sum)) atomicExch(&broken, 1);
      });

  const T blank = broken ? static_cast<T>(nan("")) : T(0);
  for (int i = static_cast<int>(threadIdx.x); i < d * d; i += kGramThreads)
    v[b * d * d + i] = blank;
  for (int i = static_cast<int>(threadIdx.x); i < d; i += kGramThreads) {
    singular_values[b * d + i] = blank;
    permutation[b * d + i] = -1;
  }
  if (broken) {
    if (threadIdx.x == 0) distance[b] = ima_contrast[b] = blank;
    return;
  }
  __syncthreads();
  if (threadIdx.x >= 32) return;

  const Warp warp;
  const int m = active_latents;
  const SolverSpace space(memory, m);
  double contrast = 0;
  for (int i = warp.lane(); i < m * m; i += Warp::lanes) {
    const int row = max(latents[i / m], latents[i % m]),
              column = min(latents[i / m], latents[i % m]);
    space.gram[i] = full[row * (row + 1) / 2 + column];
    if (i / m == i % m) contrast += log(space.gram[i]);
  }
  warp.sync();
  jacobi_eigenvectors(warp, space.gram, space.vectors, m);
  order_directions(warp, space, m);
  assign_directions(warp, space, m);
  double squared_distance = 0;
  int dependent = 0;
  for (int j = warp.lane(); j < m; j += Warp::lanes) {
    const double eigenvalue = fmax(0.0, space.gram[space.order[j] * (m + 1)]);
    dependent |= eigenvalue == 0;
    contrast -= log(eigenvalue);
    singular_values[b * d + j] = static_cast<T>(sqrt(eigenvalue));
    squared_distance +=
        place_direction(space, m, j, latents, d, v + b * d * d, permutation + b * d);
  }
  squared_distance = warp_sum(squared_distance);
  contrast = warp_sum(contrast) / 2;
  const bool infinite = __any_sync(0xffffffffu, dependent);
  if (warp.lane() == 0) {
    distance[b] = static_cast<T>(sqrt(squared_distance));
    ima_contrast[b] = static_cast<T>(infinite ? HUGE_VAL : fmax(0.0, contrast));
  }
}

}  // namespace

template <class T>
void gram_alignment(const T* jacobian, bool latents_first, const std::uint8_t* active,
                    std::int64_t B, std::int64_t P, std::int64_t d, T* gram, T* singular_values,
                    T* v, T* distance, std::int64_t* permutation, T* ima_contrast, Stream stream) {
  if (B == 0) return;
  const std::int64_t tile = static_cast<std::int64_t>(sizeof(double)) * d * kGramTile;
  const std::int64_t shared = tile > SolverSpace::bytes(d) ? tile : SolverSpace::bytes(d);
  const auto kernel = alignment_kernel<T>;
  if (shared >
      24 * 1024) {  // with the static 19 KiB this would pass the 48 KiB that need no asking
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(shared)),
          "gram_alignment: shared memory for so many latents on this GPU");
  }
  kernel<<<static_cast<unsigned>(B), kGramThreads, static_cast<std::size_t>(shared),
           native(stream)>>>(jacobian, latents_first, active, P, static_cast<int>(d), gram,
                             singular_values, v, distance, permutation, ima_contrast);
  check_launch("gram_alignment");
}

VAEBIAS_FLOAT_AND_DOUBLE(gram_alignment)

}  // namespace vaebias::cuda
