// Draws from posteriors and their KL to the standard normal on the CPU, elementwise, over parts
// whose noise stays in L1.
#include <algorithm>
#include <cmath>

#include "kernels.h"
#include "normal.h"
#include "parallel.h"
#include "philox.h"
#include "simd.h"

#if VAEBIAS_CLONE_LEVEL >= 3
#include <immintrin.h>
#endif

namespace vaebias::cpu {
namespace {

constexpr std::int64_t kBlocks = 64;  // of Philox in a part

template <class T>
constexpr std::int64_t kPart = kBlocks * NormalBlock<T>::size;  // numbers

// Numbers of 32 bits in lanes of 64, which hold their products. What is in the upper halves is not
// used.
template <int W>
using Words = typename simd::Register<std::uint64_t, W>::type;

template <int W>
VAEBIAS_INLINE Words<W> multiply(Words<W> a, std::uint32_t b) {
#if VAEBIAS_CLONE_LEVEL > 0
  // Where GCC 12 takes three multiplications.
  using Halves = typename simd::Register<int, 2 * W>::type;
  [[maybe_unused]] const Words<W> factor = Words<W>{} + b;
  if constexpr (W == 2) return (Words<W>)__builtin_ia32_pmuludq128((Halves)a, (Halves)factor);
#endif
#if VAEBIAS_CLONE_LEVEL >= 3
  if constexpr (W == 4) return (Words<W>)__builtin_ia32_pmuludq256((Halves)a, (Halves)factor);
#endif
  return (a & 0xFFFFFFFFu) * b;
}

// Philox4x32-10 as in philox.h, of kBlocks counters from `first` on, W at once. Several independent
// chains overlap; each round of one waits for the round before. words [4, kBlocks].
template <int W>
VAEBIAS_INLINE void words_of_blocks(std::uint64_t seed, std::uint64_t offset, std::uint64_t first,
                                    std::uint32_t (*words)[kBlocks]) {
  constexpr int chains = 4;
  Words<W> lane;
  for (int i = 0; i < W; ++i) lane[i] = static_cast<std::uint64_t>(i);
  for (std::int64_t begin = 0; begin < kBlocks; begin += chains * W) {
    Words<W> c[chains][4];
#pragma GCC unroll 4
    for (int i = 0; i < chains; ++i) {
      const Words<W> block = lane + (first + static_cast<std::uint64_t>(begin + i * W));
      c[i][0] = block;
      c[i][1] = block >> 32;
      c[i][2] = Words<W>{} + offset;
      c[i][3] = Words<W>{} + (offset >> 32);
    }
    std::uint64_t k0 = seed, k1 = seed >> 32;
#pragma GCC unroll 10
    for (int round = 0; round < 10; ++round) {
#pragma GCC unroll 4
      for (int i = 0; i < chains; ++i) {
        const Words<W> product0 = multiply<W>(c[i][0], kPhiloxMultiplier0);
        const Words<W> product1 = multiply<W>(c[i][2], kPhiloxMultiplier1);
        c[i][0] = (product1 >> 32) ^ c[i][1] ^ k0;
        c[i][1] = product1;
        c[i][2] = (product0 >> 32) ^ c[i][3] ^ k1;
        c[i][3] = product0;
      }
      k0 += kPhiloxStep0;
      k1 += kPhiloxStep1;
    }
    using Halves = typename simd::Register<std::uint32_t, W>::type;
#pragma GCC unroll 4
    for (int i = 0; i < chains; ++i) {
#pragma GCC unroll 4
      for (int word = 0; word < 4; ++word) {
        *reinterpret_cast<Halves*>(words[word] + begin + i * W) =
            __builtin_convertvector(c[i][word], Halves);
      }
    }
  }
}

VAEBIAS_FOR_EACH_WIDTH(void, draw_words,
                       (std::uint64_t seed, std::uint64_t offset, std::uint64_t first,
                        std::uint32_t (*words)[kBlocks]),
                       words_of_blocks, (seed, offset, first, words))

// Two normals from each pair of uniforms that the words of block b make.
VAEBIAS_INLINE void normals_of_words(const std::uint32_t (*words)[kBlocks], std::int64_t b,
                                     float (*normals)[kBlocks]) {
  box_muller(open_uniform(words[0][b]), open_uniform(words[1][b]), &normals[0][b], &normals[1][b]);
  box_muller(open_uniform(words[2][b]), open_uniform(words[3][b]), &normals[2][b], &normals[3][b]);
}
VAEBIAS_INLINE void normals_of_words(const std::uint32_t (*words)[kBlocks], std::int64_t b,
                                     double (*normals)[kBlocks]) {
  box_muller(open_uniform(words[0][b], words[1][b]), open_uniform(words[2][b], words[3][b]),
             &normals[0][b], &normals[1][b]);
}

// Normals [kPart], in order, from the words of their blocks. A loop of its own: with the rounds of
// Philox in it, GCC would not vectorise it.
template <class T>
VAEBIAS_CLONES void transform(const std::uint32_t (*words)[kBlocks], T* __restrict normals) {
  constexpr int width = NormalBlock<T>::size;
  T by_place[width][kBlocks];
#pragma omp simd
  for (std::int64_t b = 0; b < kBlocks; ++b) normals_of_words(words, b, by_place);
#pragma omp simd
  for (std::int64_t b = 0; b < kBlocks; ++b) {
    for (int i = 0; i < width; ++i) normals[b * width + i] = by_place[i][b];
  }
}

// e^(l/2), and e^l - 1 from the same exponential: with h = e^(l/2) - 1, h (h + 2).
template <class T>
VAEBIAS_INLINE T sigma_and_expm1(T logvar, T* expm1) {
  T half;
  const T sigma = simd::exp_and_expm1(logvar / 2, &half);
  *expm1 = half * (half + T(2));
  return sigma;
}

template <class T>
VAEBIAS_CLONES void sample_part(const T* __restrict mu, const T* __restrict logvar,
                                const T* __restrict noise, std::int64_t size, T* __restrict z,
                                T* __restrict kl) {
#pragma omp simd
  for (std::int64_t i = 0; i < size; ++i) {
    T expm1;
    z[i] = mu[i] + sigma_and_expm1(logvar[i], &expm1) * noise[i];
    kl[i] = kl_standard_normal(mu[i], logvar[i], expm1);
  }
}

template <class T>
VAEBIAS_CLONES void gradients_of_part(const T* __restrict mu, const T* __restrict logvar,
                                      const T* __restrict noise, std::int64_t size,
                                      const T* __restrict grad_z, const T* __restrict grad_kl,
                                      T* __restrict grad_mu, T* __restrict grad_logvar) {
#pragma omp simd
  for (std::int64_t i = 0; i < size; ++i) {
    T expm1;
    const T deviation = sigma_and_expm1(logvar[i], &expm1) * noise[i];
    grad_mu[i] = grad_z[i] + grad_kl[i] * mu[i];
    grad_logvar[i] = (grad_z[i] * deviation + grad_kl[i] * expm1) / 2;
  }
}

// Calls visit(first, size, noise) for parts of at most kPart numbers; where `noise` is null, with
// normals that it draws.
template <class T, class Visit>
void for_each_part(const T* noise, std::uint64_t seed, std::uint64_t offset, std::int64_t size,
                   int threads, const Visit& visit) {
  constexpr std::int64_t most = kPart<T>;
  parallel_for((size + most - 1) / most, 16, threads, [&](std::int64_t begin, std::int64_t end) {
    std::uint32_t words[4][kBlocks];
    T normals[most];
    for (std::int64_t part = begin; part < end; ++part) {
      const std::int64_t first = part * most;
      if (!noise) {
        draw_words(seed, offset, static_cast<std::uint64_t>(part * kBlocks), words);
        transform(words, normals);
      }
      visit(first, std::min(most, size - first), noise ? noise + first : normals);
    }
  });
}

}  // namespace

template <class T>
void sample_and_kl(const T* mu, const T* logvar, const T* noise, std::uint64_t seed,
                   std::uint64_t offset, std::int64_t size, T* z, T* kl, int threads) {
  for_each_part(noise, seed, offset, size, threads,
                [&](std::int64_t at, std::int64_t count, const T* n) {
                  sample_part(mu + at, logvar + at, n, count, z + at, kl + at);
                });
}

template <class T>
void sample_and_kl_backward(const T* mu, const T* logvar, const T* noise, std::uint64_t seed,
                            std::uint64_t offset, std::int64_t size, const T* grad_z,
                            const T* grad_kl, T* grad_mu, T* grad_logvar, int threads) {
  for_each_part(noise, seed, offset, size, threads,
                [&](std::int64_t at, std::int64_t count, const T* n) {
                  gradients_of_part(mu + at, logvar + at, n, count, grad_z + at, grad_kl + at,
                                    grad_mu + at, grad_logvar + at);
                });
}

template <class T>
void philox_normal(const std::int64_t* seeds, const std::int64_t* offset, std::int64_t streams,
                   std::int64_t size, T* normals, int threads) {
  for (std::int64_t i = 0; i < streams; ++i) {
    for_each_part<T>(nullptr, static_cast<std::uint64_t>(seeds[i]),
                     static_cast<std::uint64_t>(*offset), size, threads,
                     [&](std::int64_t at, std::int64_t count, const T* n) {
                       std::copy_n(n, count, normals + i * size + at);
                     });
  }
}

VAEBIAS_FLOAT_AND_DOUBLE(sample_and_kl)
VAEBIAS_FLOAT_AND_DOUBLE(sample_and_kl_backward)
VAEBIAS_FLOAT_AND_DOUBLE(philox_normal)

}  // namespace vaebias::cpu
