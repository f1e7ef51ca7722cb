// Counter-based normal noise: the same (seed, offset, element) gives the same bits on CPU
// and CUDA, so that a backward pass can draw again what the forward pass drew.
//
// Philox4x32-10: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3",
// SC 2011. Normals by Box and Muller, two from each pair of uniforms.
#pragma once

#include <cmath>
#include <cstdint>

#include "host_device.h"

namespace vaebias {

struct Philox4 {
  std::uint32_t word[4];
};

VAEBIAS_HOST_DEVICE inline Philox4 philox4x32_10(std::uint64_t seed, std::uint64_t offset,
                                                 std::uint64_t block) {
  std::uint32_t c0 = static_cast<std::uint32_t>(block),
                c1 = static_cast<std::uint32_t>(block >> 32);
  std::uint32_t c2 = static_cast<std::uint32_t>(offset),
                c3 = static_cast<std::uint32_t>(offset >> 32);
  std::uint32_t k0 = static_cast<std::uint32_t>(seed), k1 = static_cast<std::uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t product0 = std::uint64_t{0xD2511F53u} * c0;
    const std::uint64_t product1 = std::uint64_t{0xCD9E8D57u} * c2;
    const std::uint32_t high0 = static_cast<std::uint32_t>(product0 >> 32);
    const std::uint32_t high1 = static_cast<std::uint32_t>(product1 >> 32);
    c0 = high1 ^ c1 ^ k0;
    c1 = static_cast<std::uint32_t>(product1);
    c2 = high0 ^ c3 ^ k1;
    c3 = static_cast<std::uint32_t>(product0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

// Uniforms in (0, 1]: never 0, so that their logarithm is finite.
VAEBIAS_HOST_DEVICE inline double open_uniform(std::uint32_t high, std::uint32_t low) {
  const std::uint64_t bits = (std::uint64_t{high} << 21) ^ (std::uint64_t{low} >> 11);
  return (static_cast<double>(bits) + 0.5) * 1.1102230246251565e-16;  // 2^-53
}
VAEBIAS_HOST_DEVICE inline float open_uniform(std::uint32_t word) {
  return (static_cast<float>(word) + 0.5f) * 2.3283064365386963e-10f;  // 2^-32
}

// Box-Muller; the angle is taken in half turns, where the reduction is exact.
VAEBIAS_HOST_DEVICE inline void box_muller(float u, float v, float* first, float* second) {
  const float radius = sqrtf(-2.0f * logf(u));
#ifdef __CUDA_ARCH__
  float s, c;
  sincospif(2.0f * v, &s, &c);
#else
  const double angle = 6.283185307179586476925 * static_cast<double>(v);
  const float s = static_cast<float>(std::sin(angle)), c = static_cast<float>(std::cos(angle));
#endif
  *first = radius * c;
  *second = radius * s;
}
VAEBIAS_HOST_DEVICE inline void box_muller(double u, double v, double* first, double* second) {
  const double radius = sqrt(-2.0 * log(u));
#ifdef __CUDA_ARCH__
  double s, c;
  sincospi(2.0 * v, &s, &c);
#else
  const double angle = 6.283185307179586476925 * v;
  const double s = std::sin(angle), c = std::cos(angle);
#endif
  *first = radius * c;
  *second = radius * s;
}

// The normals of one Philox block: four in float, two (of 53 bits) in double.
template <class T>
struct NormalBlock;

template <>
struct NormalBlock<float> {
  static constexpr int size = 4;
  float value[4];
  VAEBIAS_HOST_DEVICE NormalBlock(std::uint64_t seed, std::uint64_t offset, std::uint64_t block) {
    const Philox4 bits = philox4x32_10(seed, offset, block);
    box_muller(open_uniform(bits.word[0]), open_uniform(bits.word[1]), &value[0], &value[1]);
    box_muller(open_uniform(bits.word[2]), open_uniform(bits.word[3]), &value[2], &value[3]);
  }
};

template <>
struct NormalBlock<double> {
  static constexpr int size = 2;
  double value[2];
  VAEBIAS_HOST_DEVICE NormalBlock(std::uint64_t seed, std::uint64_t offset, std::uint64_t block) {
    const Philox4 bits = philox4x32_10(seed, offset, block);
    box_muller(open_uniform(bits.word[0], bits.word[1]), open_uniform(bits.word[2], bits.word[3]),
               &value[0], &value[1]);
  }
};

}  // namespace vaebias
