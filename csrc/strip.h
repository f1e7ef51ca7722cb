// Columns of P numbers on the CPU, a strip of pixels at a time: as double, in a buffer that stays
// in cache while their products are taken, in blocks of 4 x 4 whose sums stay in registers.
#pragma once

#include <algorithm>
#include <cstdint>

#include "simd.h"

namespace vaebias::cpu {

constexpr std::int64_t kStrip = 256;  // pixels; ten columns of them fill half of an L1 cache
constexpr std::int64_t kBlock = 4;    // columns

inline std::int64_t padded(std::int64_t columns) {
  return (columns + kBlock - 1) / kBlock * kBlock;
}

// A strip of `count` columns as double, [padded(count), kStrip], zero beyond `width`; what lies
// beyond `count` stays as it is. columns [P, count], or [count, P] where latents_first.
template <class T>
VAEBIAS_CLONES static void load_strip(const T* columns, bool latents_first, std::int64_t P,
                                      std::int64_t count, std::int64_t first, std::int64_t width,
                                      double* strip) {
  for (std::int64_t i = 0; i < count; ++i) {
    double* const column = strip + i * kStrip;
    if (latents_first) {
      const T* const from = columns + i * P + first;
      // Each column is a stream of its own, too short a one for the processor to see it coming.
      const std::int64_t ahead = std::min(P - first, width + kStrip);
      for (std::int64_t p = width; p < ahead; p += 64 / sizeof(T)) __builtin_prefetch(from + p);
#pragma omp simd
      for (std::int64_t p = 0; p < width; ++p) column[p] = static_cast<double>(from[p]);
    } else {
      const T* const from = columns + first * count + i;
      for (std::int64_t p = 0; p < width; ++p) column[p] = static_cast<double>(from[p * count]);
    }
    std::fill(column + width, column + kStrip, 0.0);
  }
}

// Adds the products of kBlock columns of x with as many of y to sums [kBlock, kBlock], eight
// partial sums each.
VAEBIAS_INLINE void add_block(const double* x, const double* y, std::int64_t width,
                              simd::Eight* sums) {
  simd::Eight block[kBlock * kBlock];
#pragma GCC unroll 16
  for (int i = 0; i < kBlock * kBlock; ++i) block[i] = sums[i];
  for (std::int64_t p = 0; p < width; p += simd::kLanes) {
#pragma GCC unroll 4
    for (int i = 0; i < kBlock; ++i) {
      const simd::Eight left = simd::load(x + i * kStrip + p);
#pragma GCC unroll 4
      for (int j = 0; j < kBlock; ++j) {
        block[i * kBlock + j] += left * simd::load(y + j * kStrip + p);
      }
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kBlock * kBlock; ++i) sums[i] = block[i];
}

}  // namespace vaebias::cpu
