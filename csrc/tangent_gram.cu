// Tangent Grams on CUDA: one block an image. Tangents are formed in registers, and tensor cores
// multiply them (column_products.cuh). Of bytes neither tangents nor numbers are formed: four
// products of bytes add up in one instruction, exactly, from registers where factors are few, else
// from tiles in shared memory.
#include <cuda_pipeline.h>

#include <cmath>

#include "column_products.cuh"

namespace vaebias::cuda {
namespace {

__device__ inline bool within(std::int64_t index, std::int64_t size) {
  return index >= 0 && index < size;
}

// The two images of each factor of one point, in shared memory.
struct Ends {
  std::int64_t to[kMaxColumns];  // where it begins among all images; -1: no tangent
  std::int64_t from[kMaxColumns];
  double scale[kMaxColumns];  // 1 over the step; NaN where an index is outside

  template <class T>
  __device__ void load(const std::int64_t* plus, const std::int64_t* minus,
                       const T* inverse_steps, std::int64_t n, std::int64_t M, int k,
                       std::int64_t P) {
    const std::int64_t first = n * k;
    for (int a = static_cast<int>(threadIdx.x); a < k; a += static_cast<int>(blockDim.x)) {
      const T step = inverse_steps[first + a];
      const std::int64_t one = plus[first + a], other = minus[first + a];
      const bool there = within(one, M) && within(other, M), counts = step != T(0) && there;
      to[a] = counts ? one * P : -1;
      from[a] = counts ? other * P : -1;
      scale[a] = step == T(0) || there ? static_cast<double>(step) : nan("");
    }
    __syncthreads();
  }

  // gram: [k, k] of this point
  template <class T>
  __device__ void write(int a, int b, double sum, int k, T* gram) const {
    if (to[a] < 0 || to[b] < 0) sum = 0;
    gram[a * k + b] = gram[b * k + a] = static_cast<T>(sum * scale[a] * scale[b]);
  }
};

// X groups of tangents: differences of two images each. Where there is no tangent, the first image
// is read instead, so that no load waits for a condition; Ends drops what comes of it.
template <class S, class T>
class Tangents {
 public:
  struct Loaded {
    Pack<T, kQuad> to, from;
  };
  static constexpr int registers = sizeof(Loaded) / 4;

  __device__ Tangents(const T* images, const Ends& ends, int first, int k, std::int64_t P)
      : P_(P) {
#pragma unroll
    for (int g = 0; g < S::X; ++g) {
      const int factor = min(first + g * S::rows + S::column(), k - 1);
      to_[g] = images + max(ends.to[factor], std::int64_t{0});
      from_[g] = images + max(ends.from[factor], std::int64_t{0});
    }
  }
  template <bool whole>
  __device__ Loaded load(int g, std::int64_t p) const {
    return {load_quad<S, whole>(to_[g], 1, p, P_), load_quad<S, whole>(from_[g], 1, p, P_)};
  }
  __device__ double number(const Loaded& loaded, int, int e) const {
    return static_cast<double>(loaded.to.value[e]) - static_cast<double>(loaded.from.value[e]);
  }

 private:
  const T *to_[S::X], *from_[S::X];
  std::int64_t P_;
};

// Block (point, part of its Gram).
template <class S, class T>
__global__ void __launch_bounds__(kProductThreads, kProductBlocks)
    gram_kernel(const T* images, const std::int64_t* plus, const std::int64_t* minus,
                const T* inverse_steps, std::int64_t M, int k, std::int64_t P, int blocks,
                T* gram) {
  __shared__ Ends ends;
  const std::int64_t n = blockIdx.x / blocks;
  ends.load(plus, minus, inverse_steps, n, M, k, P);
  gram_of_columns<S>(
      k, static_cast<int>(blockIdx.x % blocks), P,
      [&](int first) { return Tangents<S, T>(images, ends, first, k, P); },
      [&](int a, int b, double sum) { ends.write(a, b, sum, k, gram + n * k * k); });
}

using Bytes = std::uint8_t;

constexpr int kByteThreads = 256;  // of a block, at most
constexpr int kBlock = 4;          // factors a side of a block of pairs

// How a tile of bytes lies in shared memory: words of four pixels, both images of every factor, in
// two buffers, of which one is read while copies fill the other.
struct ByteTiles {
  int side, tasks;  // blocks of kBlock factors, and pairs of them
  int words;        // of an image in a tile
  int split;        // threads a pair of blocks, each with every split-th word
  int stride;       // words from image to image, such that a warp reads different banks
  int threads;

  explicit ByteTiles(int k) : side((k + kBlock - 1) / kBlock), tasks(side * (side + 1) / 2) {
    words = side <= 8 ? 64 : 32;
    split = 32;
    while (split > 1 && split * tasks > kByteThreads) split /= 2;
    stride = words + (split == 32 ? 0 : split <= 8 ? 4 : split / 2);  // whole vectors of 16 bytes
    const int needed = (split * tasks + 31) / 32 * 32;
    threads = needed < 64 ? 64 : needed;
  }
  VAEBIAS_HOST_DEVICE int images() const { return 2 * kBlock * side; }
  VAEBIAS_HOST_DEVICE int buffer() const { return images() * stride; }
  std::size_t bytes() const { return 2 * sizeof(unsigned) * static_cast<std::size_t>(buffer()); }
  // Sums of products of 255^2 a thread, their differences below 2^31.
  bool fit(std::int64_t P) const { return P <= 32768LL * split; }
};

// Fills a buffer with pixels [first, first + 4 words) of P, zeros beyond and where there is no
// tangent. `packed`: images are whole vectors of 16 bytes; copies then arrive later.
template <bool packed>
__device__ void fetch_bytes(const Bytes* images, const Ends& ends, const ByteTiles& tiles, int k,
                            std::int64_t first, std::int64_t P, unsigned* buffer) {
  constexpr int vector = packed ? 4 : 1;  // words at a time
  const int vectors = tiles.words / vector;
  for (int at = static_cast<int>(threadIdx.x); at < tiles.images() * vectors;
       at += static_cast<int>(blockDim.x)) {
    const int image = at / vectors, word = at % vectors * vector, factor = image / 2;
    const std::int64_t start =
        factor < k ? (image % 2 == 0 ? ends.to[factor] : ends.from[factor]) : -1;
    const Bytes* const pixels = start < 0 ? nullptr : images + start;
    const std::int64_t p = first + 4 * word;
    unsigned* const to = buffer + image * tiles.stride + word;
    if constexpr (packed) {
      if (pixels && p < P) {
        __pipeline_memcpy_async(to, pixels + p, sizeof(uint4));
      } else {
        *reinterpret_cast<uint4*>(to) = uint4{0, 0, 0, 0};
      }
    } else {
      unsigned four = 0;
      for (int i = 0; i < (pixels ? 4 : 0); ++i) {
        if (p + i < P) four |= static_cast<unsigned>(pixels[p + i]) << 8 * i;
      }
      *to = four;
    }
  }
}

// (to - from) (to' - from') is a sum of four products of bytes: two are added, two taken.
// fits: 32 bits hold the sums of all P pixels; else tiles are added up in double, as exactly.
template <bool packed, bool fits, class T>
__global__ void __launch_bounds__(kByteThreads)
    byte_gram_kernel(const Bytes* images, const std::int64_t* plus, const std::int64_t* minus,
                     const T* inverse_steps, std::int64_t M, int k, std::int64_t P,
                     const ByteTiles tiles, T* gram) {
  extern __shared__ uint4 vectors[];
  __shared__ Ends ends;
  const std::int64_t n = blockIdx.x;
  ends.load(plus, minus, inverse_steps, n, M, k, P);
  unsigned* const buffers = reinterpret_cast<unsigned*>(vectors);
  const int task = static_cast<int>(threadIdx.x) / tiles.split;
  const int slice = static_cast<int>(threadIdx.x) % tiles.split;
  int x = 0, y = 0;
  if (task < tiles.tasks) pair_of(task, &x, &y);
  const int step = 2 * tiles.side * tiles.stride;  // from factor x to x + side
  unsigned added[kBlock][kBlock] = {}, taken[kBlock][kBlock] = {};
  double earlier[kBlock][kBlock] = {};
  const auto so_far = [&](int r, int c) {
    const double sum = static_cast<double>(static_cast<int>(added[r][c] - taken[r][c]));
    return fits ? sum : earlier[r][c] + sum;
  };
  const std::int64_t pixels = 4 * tiles.words;
  fetch_bytes<packed>(images, ends, tiles, k, 0, P, buffers);
  __pipeline_commit();
  int turn = 0;
  for (std::int64_t first = 0; first < P; first += pixels, turn ^= 1) {
    if (first + pixels < P) {
      fetch_bytes<packed>(images, ends, tiles, k, first + pixels, P,
                          buffers + (turn ^ 1) * tiles.buffer());
    }
    __pipeline_commit();  // after the last tile a group of no copies, so that one may be pending
    __pipeline_wait_prior(1);
    __syncthreads();
    const unsigned* const tile = buffers + turn * tiles.buffer();
    const unsigned* const of_x = tile + 2 * x * tiles.stride;
    const unsigned* const of_y = tile + 2 * y * tiles.stride;
    for (int w = slice; w < (task < tiles.tasks ? tiles.words : 0); w += tiles.split) {
      unsigned to[kBlock], from[kBlock];
#pragma unroll
      for (int r = 0; r < kBlock; ++r) {
        to[r] = of_x[r * step + w];
        from[r] = of_x[r * step + tiles.stride + w];
      }
#pragma unroll
      for (int c = 0; c < kBlock; ++c) {
        const unsigned other_to = of_y[c * step + w];
        const unsigned other_from = of_y[c * step + tiles.stride + w];
#pragma unroll
        for (int r = 0; r < kBlock; ++r) {
          added[r][c] = __dp4a(to[r], other_to, added[r][c]);
          added[r][c] = __dp4a(from[r], other_from, added[r][c]);
          taken[r][c] = __dp4a(to[r], other_from, taken[r][c]);
          taken[r][c] = __dp4a(from[r], other_to, taken[r][c]);
        }
      }
    }
    if constexpr (!fits) {
#pragma unroll
      for (int r = 0; r < kBlock; ++r) {
#pragma unroll
        for (int c = 0; c < kBlock; ++c) {
          earlier[r][c] = so_far(r, c);
          added[r][c] = taken[r][c] = 0;
        }
      }
    }
    __syncthreads();  // before the next tile but one is copied to where this one is
  }
#pragma unroll
  for (int r = 0; r < kBlock; ++r) {
#pragma unroll
    for (int c = 0; c < kBlock; ++c) {
      double sum = so_far(r, c);
      for (int lanes = tiles.split / 2; lanes > 0; lanes /= 2) {
        sum += __shfl_down_sync(0xffffffffu, sum, lanes);
      }
      const int a = x + r * tiles.side, b = y + c * tiles.side;
      if (slice != 0 || task >= tiles.tasks || a >= k || b >= k || (x == y && a < b)) continue;
      ends.write(a, b, sum, k, gram + n * k * k);
    }
  }
}

// At most kBlock factors, of packed images: a warp a point. A lane's pixels of all images fit into
// registers, so that there is neither a tile nor a barrier.
template <class T>
__global__ void __launch_bounds__(32)
    few_bytes_kernel(const Bytes* images, const std::int64_t* plus, const std::int64_t* minus,
                     const T* inverse_steps, std::int64_t M, int k, std::int64_t P, T* gram) {
  using Words = Pack<unsigned, 4>;
  constexpr int pixels = sizeof(Words);
  __shared__ Ends ends;
  const std::int64_t n = blockIdx.x;
  ends.load(plus, minus, inverse_steps, n, M, k, P);
  const Bytes *to[kBlock], *from[kBlock];
#pragma unroll
  for (int r = 0; r < kBlock; ++r) {  // as in Tangents
    const int factor = min(r, k - 1);
    to[r] = images + max(ends.to[factor], std::int64_t{0});
    from[r] = images + max(ends.from[factor], std::int64_t{0});
  }
  unsigned added[kBlock][kBlock] = {}, taken[kBlock][kBlock] = {};
  for (std::int64_t p = threadIdx.x * pixels; p < P; p += 32 * pixels) {
    Words of_to[kBlock], of_from[kBlock];
#pragma unroll
    for (int r = 0; r < kBlock; ++r) {
      of_to[r] = *reinterpret_cast<const Words*>(to[r] + p);
      of_from[r] = *reinterpret_cast<const Words*>(from[r] + p);
    }
#pragma unroll
    for (int w = 0; w < 4; ++w) {
#pragma unroll
      for (int r = 0; r < kBlock; ++r) {
#pragma unroll
        for (int c = 0; c <= r; ++c) {
          const unsigned x = of_to[r].value[w], y = of_to[c].value[w];
          const unsigned x0 = of_from[r].value[w], y0 = of_from[c].value[w];
          added[r][c] = __dp4a(x0, y0, __dp4a(x, y, added[r][c]));
          taken[r][c] = __dp4a(x0, y, __dp4a(x, y0, taken[r][c]));
        }
      }
    }
  }
#pragma unroll
  for (int r = 0; r < kBlock; ++r) {
#pragma unroll
    for (int c = 0; c <= r; ++c) {
      const double sum = warp_sum(static_cast<int>(added[r][c] - taken[r][c]));
      if (threadIdx.x == 0 && r < k) ends.write(r, c, sum, k, gram + n * k * k);
    }
  }
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

template <class T>
void launch_bytes(const Bytes* bytes, const std::int64_t* plus, const std::int64_t* minus,
                  const T* inverse_steps, std::int64_t M, std::int64_t N, int factors,
                  std::int64_t P, T* gram, cudaStream_t stream) {
  const ByteTiles tiles(factors);
  const bool packed = P % 16 == 0 && is_aligned<16>(bytes), fits = tiles.fit(P);
  if (factors <= kBlock && packed && fits) {
    few_bytes_kernel<<<blocks_for(N, 1), 32, 0, stream>>>(
        bytes, plus, minus, inverse_steps, M, factors, M > 0 ? P : 0, gram);
  } else {
    const auto kernel =
        packed ? (fits ? byte_gram_kernel<true, true, T> : byte_gram_kernel<true, false, T>)
               : (fits ? byte_gram_kernel<false, true, T> : byte_gram_kernel<false, false, T>);
    kernel<<<blocks_for(N, 1), tiles.threads, tiles.bytes(), stream>>>(
        bytes, plus, minus, inverse_steps, M, factors, P, tiles, gram);
  }
}

}  // namespace

template <class T>
void tangent_gram(const void* images, bool images_are_bytes, const std::int64_t* plus,
                  const std::int64_t* minus, const T* inverse_steps, std::int64_t M, std::int64_t N,
                  std::int64_t k, std::int64_t P, T* gram, Stream stream) {
  if (N == 0 || k == 0) return;
  const int factors = static_cast<int>(k);
  if (images_are_bytes) {
    launch_bytes(static_cast<const Bytes*>(images), plus, minus, inverse_steps, M, N, factors, P,
                 gram, native(stream));
  } else {
    const auto* const pixels = static_cast<const T*>(images);
    const int blocks = gram_blocks(factors);
    with_gram_shape(factors, can_pack(P, pixels), [&](auto shape) {
      gram_kernel<decltype(shape), T><<<blocks_for(N * blocks, 1), kProductThreads, 0,
                                        native(stream)>>>(
          pixels, plus, minus, inverse_steps, M, factors, M > 0 ? P : 0, blocks, gram);
    });
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
