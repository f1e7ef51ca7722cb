// Tangent Grams on CUDA: one block an image. Tangents are formed a tile of pixels at a time in
// shared memory, each neighbour is read once, and the k x k products stay in registers.
#include <cmath>

#include "column_products.cuh"

namespace vaebias::cuda {
namespace {

__device__ inline bool within(std::int64_t index, std::int64_t size) {
  return index >= 0 && index < size;
}

template <class Pixel, class T>
__global__ void gram_kernel(const Pixel* images, const std::int64_t* plus,
                            const std::int64_t* minus, const T* inverse_steps, std::int64_t M,
                            int k, std::int64_t P, T* gram) {
  extern __shared__ double tile[];
  __shared__ const Pixel* to[kMaxColumns];  // null: no tangent
  __shared__ const Pixel* from[kMaxColumns];
  __shared__ double scale[kMaxColumns];  // 1 over the step; NaN where an index is outside
  const std::int64_t n = blockIdx.x;
  for (int a = static_cast<int>(threadIdx.x); a < k; a += kGramThreads) {
    const T step = inverse_steps[n * k + a];
    const std::int64_t one = plus[n * k + a], other = minus[n * k + a];
    const bool there = within(one, M) && within(other, M), counts = step != T(0) && there;
    to[a] = counts ? images + one * P : nullptr;
    from[a] = counts ? images + other * P : nullptr;
    scale[a] = step == T(0) || there ? static_cast<double>(step) : nan("");
  }
  __syncthreads();
  const auto tangent = [&](int a, std::int64_t p) {
    if (!to[a]) return 0.0;
    return static_cast<double>(to[a][p]) - static_cast<double>(from[a][p]);
  };
  const auto write = [&](int a, int b, double sum) {
    const double value = sum * scale[a] * scale[b];
    gram[(n * k + a) * k + b] = gram[(n * k + b) * k + a] = static_cast<T>(value);
  };
  gram_of_columns(k, P, false, tile, tangent, write);
}

// Block (strip of pixels, image m): a thread sums all uses of its pixel, in their order.
template <class T>
__global__ void backward_kernel(const T* images, const std::int64_t* plus,
                                const std::int64_t* minus, const T* inverse_steps, const T* weight,
                                const std::int64_t* uses, const std::int64_t* starts,
                                std::int64_t M, std::int64_t k, std::int64_t P, T* grad_images) {
  const std::int64_t strips = (P + blockDim.x - 1) / blockDim.x;
  const std::int64_t m = blockIdx.x / strips;
  const std::int64_t p = blockIdx.x % strips * blockDim.x + threadIdx.x;
  if (p >= P) return;
  double sum = 0;  // an image may have many uses
  for (std::int64_t use = starts[m]; use < starts[m + 1]; ++use) {
    const std::int64_t n = uses[use] / (2 * k), a = uses[use] / 2 % k;
    const double own = (uses[use] % 2 ? -1.0 : 1.0) * static_cast<double>(inverse_steps[n * k + a]);
    for (std::int64_t b = 0; b < k; ++b) {
      const double w = own * static_cast<double>(weight[(n * k + a) * k + b]) *
                       static_cast<double>(inverse_steps[n * k + b]);
      const std::int64_t to = plus[n * k + b], from = minus[n * k + b];
      if (w == 0 || !within(to, M) || !within(from, M)) continue;
      sum +=
          w * (static_cast<double>(images[to * P + p]) - static_cast<double>(images[from * P + p]));
    }
  }
  grad_images[m * P + p] = static_cast<T>(sum);
}

}  // namespace

template <class T>
void tangent_gram(const void* images, bool images_are_bytes, const std::int64_t* plus,
                  const std::int64_t* minus, const T* inverse_steps, std::int64_t M, std::int64_t N,
                  std::int64_t k, std::int64_t P, T* gram, Stream stream) {
  if (N == 0 || k == 0) return;
  const std::size_t shared = gram_bytes(static_cast<int>(k));
  const auto launch = [&](auto* pixels) {
    gram_kernel<<<blocks_for(N, 1), kGramThreads, shared, native(stream)>>>(
        pixels, plus, minus, inverse_steps, M, static_cast<int>(k), P, gram);
  };
  if (images_are_bytes) {
    launch(static_cast<const std::uint8_t*>(images));
  } else {
    launch(static_cast<const T*>(images));
  }
  check_launch("tangent_gram");
}

template <class T>
void tangent_gram_backward(const T* images, const std::int64_t* plus, const std::int64_t* minus,
                           const T* inverse_steps, const T* weight, const std::int64_t* uses,
                           const std::int64_t* starts, std::int64_t M, std::int64_t, std::int64_t k,
                           std::int64_t P, T* grad_images, Stream stream) {
  if (M == 0 || P == 0) return;
  backward_kernel<<<blocks_for(M * ((P + 255) / 256), 1), 256, 0, native(stream)>>>(
      images, plus, minus, inverse_steps, weight, uses, starts, M, k, P, grad_images);
  check_launch("tangent_gram_backward");
}

VAEBIAS_FLOAT_AND_DOUBLE(tangent_gram)
VAEBIAS_FLOAT_AND_DOUBLE(tangent_gram_backward)

}  // namespace vaebias::cuda
