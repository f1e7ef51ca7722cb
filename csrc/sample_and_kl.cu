// Draws from posteriors and their KL to the standard normal on CUDA, elementwise; a thread takes
// the normals of one Philox block, which are 16 bytes, and as many bytes of each array.
#include <cmath>

#include "cuda_common.cuh"
#include "normal.h"
#include "philox.h"

namespace vaebias::cuda {
namespace {

constexpr int kThreads = 256;

// Numbers that a thread takes at once: those of one Philox block, 16 bytes.
template <class T>
constexpr int kWidth = NormalBlock<T>::size;

// The noise of this thread's pack, `count` of kWidth from number `first` on.
template <bool packed, class T>
__device__ inline Pack<T, kWidth<T>> noise_of(const T* noise, std::uint64_t seed,
                                              std::uint64_t offset, std::int64_t first, int count) {
  if (noise) return load_pack<packed, kWidth<T>>(noise + first, count);
  const NormalBlock<T> normals(seed, offset, static_cast<std::uint64_t>(first / kWidth<T>));
  Pack<T, kWidth<T>> result;
#pragma unroll
  for (int i = 0; i < kWidth<T>; ++i) result.value[i] = normals.value[i];
  return result;
}

template <class T>
__device__ inline int count_from(std::int64_t first, std::int64_t size) {
  return static_cast<int>(min(size - first, static_cast<std::int64_t>(kWidth<T>)));
}

template <bool packed, class T>
__global__ void sample(const T* mu, const T* logvar, const T* noise, std::uint64_t seed,
                       std::uint64_t offset, std::int64_t size, T* z, T* kl) {
  constexpr int width = kWidth<T>;
  const std::int64_t first = global_thread() * width;
  if (first >= size) return;
  const int count = count_from<T>(first, size);
  const auto n = noise_of<packed>(noise, seed, offset, first, count);
  const auto means = load_pack<packed, width>(mu + first, count);
  const auto logs = load_pack<packed, width>(logvar + first, count);
  Pack<T, width> samples, divergences;
#pragma unroll
  for (int i = 0; i < width; ++i) {
    samples.value[i] = means.value[i] + exp(logs.value[i] / 2) * n.value[i];
    divergences.value[i] = kl_standard_normal(means.value[i], logs.value[i]);
  }
  store_pack<packed>(z + first, samples, count);
  store_pack<packed>(kl + first, divergences, count);
}

template <bool packed, class T>
__global__ void sample_backward(const T* mu, const T* logvar, const T* noise, std::uint64_t seed,
                                std::uint64_t offset, std::int64_t size, const T* grad_z,
                                const T* grad_kl, T* grad_mu, T* grad_logvar) {
  constexpr int width = kWidth<T>;
  const std::int64_t first = global_thread() * width;
  if (first >= size) return;
  const int count = count_from<T>(first, size);
  const auto n = noise_of<packed>(noise, seed, offset, first, count);
  const auto means = load_pack<packed, width>(mu + first, count);
  const auto logs = load_pack<packed, width>(logvar + first, count);
  const auto g_z = load_pack<packed, width>(grad_z + first, count);
  const auto g_kl = load_pack<packed, width>(grad_kl + first, count);
  Pack<T, width> g_mu, g_logvar;
#pragma unroll
  for (int i = 0; i < width; ++i) {
    const T deviation = exp(logs.value[i] / 2) * n.value[i];
    g_mu.value[i] = g_z.value[i] + g_kl.value[i] * means.value[i];
    g_logvar.value[i] =
        (g_z.value[i] * deviation + g_kl.value[i] * expm1(logs.value[i])) / 2;
  }
  store_pack<packed>(grad_mu + first, g_mu, count);
  store_pack<packed>(grad_logvar + first, g_logvar, count);
}

// A thread takes a block of one stream, `blocks` to a stream.
template <bool packed, class T>
__global__ void normals_of_streams(const std::int64_t* seeds, const std::int64_t* offset,
                                   std::int64_t streams, std::int64_t blocks, std::int64_t size,
                                   T* normals) {
  const std::int64_t stream = global_thread() / blocks, block = global_thread() % blocks;
  if (stream >= streams) return;
  const std::int64_t first = block * kWidth<T>;
  const auto drawn = noise_of<packed, T>(nullptr, static_cast<std::uint64_t>(seeds[stream]),
                                         static_cast<std::uint64_t>(*offset), first, 0);
  store_pack<packed>(normals + stream * size + first, drawn, count_from<T>(first, size));
}

template <class T>
unsigned packs(std::int64_t size) {
  return blocks_for((size + kWidth<T> - 1) / kWidth<T>, kThreads);
}

// Whether arrays of `size` numbers may be read and written as packs (a null one may).
template <class T, class... More>
bool are_packed(std::int64_t size, const T* first, const More*... more) {
  return size % kWidth<T> == 0 && is_aligned<kWidth<T>>(first) &&
         (is_aligned<kWidth<T>>(more) && ...);
}

}  // namespace

template <class T>
void sample_and_kl(const T* mu, const T* logvar, const T* noise, std::uint64_t seed,
                   std::uint64_t offset, std::int64_t size, T* z, T* kl, Stream stream) {
  if (size == 0) return;
  const bool packed = are_packed(size, mu, logvar, noise, z, kl);
  const auto kernel = packed ? sample<true, T> : sample<false, T>;
  kernel<<<packs<T>(size), kThreads, 0, native(stream)>>>(mu, logvar, noise, seed, offset, size, z,
                                                          kl);
  check_launch("sample_and_kl");
}

template <class T>
void sample_and_kl_backward(const T* mu, const T* logvar, const T* noise, std::uint64_t seed,
                            std::uint64_t offset, std::int64_t size, const T* grad_z,
                            const T* grad_kl, T* grad_mu, T* grad_logvar, Stream stream) {
  if (size == 0) return;
  const auto kernel = are_packed(size, mu, logvar, noise, grad_z, grad_kl, grad_mu, grad_logvar)
                          ? sample_backward<true, T>
                          : sample_backward<false, T>;
  kernel<<<packs<T>(size), kThreads, 0, native(stream)>>>(
      mu, logvar, noise, seed, offset, size, grad_z, grad_kl, grad_mu, grad_logvar);
  check_launch("sample_and_kl_backward");
}

template <class T>
void philox_normal(const std::int64_t* seeds, const std::int64_t* offset, std::int64_t streams,
                   std::int64_t size, T* normals, Stream stream) {
  if (streams == 0 || size == 0) return;
  const std::int64_t blocks = (size + kWidth<T> - 1) / kWidth<T>;
  const auto kernel =
      are_packed(size, normals) ? normals_of_streams<true, T> : normals_of_streams<false, T>;
  kernel<<<blocks_for(streams * blocks, kThreads), kThreads, 0, native(stream)>>>(
      seeds, offset, streams, blocks, size, normals);
  check_launch("philox_normal");
}

VAEBIAS_FLOAT_AND_DOUBLE(sample_and_kl)
VAEBIAS_FLOAT_AND_DOUBLE(sample_and_kl_backward)
VAEBIAS_FLOAT_AND_DOUBLE(philox_normal)

}  // namespace vaebias::cuda
