// Counter-based normal noise: the same (seed, offset, element) gives the same bits on CPU
// and CUDA, so that a backward pass can draw again what the forward pass drew.
//
// Philox4x32-10: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3",
// SC 2011. Normals by Box and Muller, two from each pair of uniforms.
#pragma once

#include <cmath>
#include <cstdint>

#include "elementary.h"
#include "host_device.h"

namespace vaebias {

struct Philox4 {
  std::uint32_t word[4];
};

constexpr std::uint32_t kPhiloxMultiplier0 = 0xD2511F53u, kPhiloxMultiplier1 = 0xCD9E8D57u;
// From one round's key to the next.
constexpr std::uint32_t kPhiloxStep0 = 0x9E3779B9u, kPhiloxStep1 = 0xBB67AE85u;

VAEBIAS_HOST_DEVICE inline Philox4 philox4x32_10(std::uint64_t seed, std::uint64_t offset,
                                                 std::uint64_t block) {
  std::uint32_t c0 = static_cast<std::uint32_t>(block),
                c1 = static_cast<std::uint32_t>(block >> 32);
  std::uint32_t c2 = static_cast<std::uint32_t>(offset),
                c3 = static_cast<std::uint32_t>(offset >> 32);
  std::uint32_t k0 = static_cast<std::uint32_t>(seed), k1 = static_cast<std::uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t product0 = std::uint64_t{kPhiloxMultiplier0} * c0;
    const std::uint64_t product1 = std::uint64_t{kPhiloxMultiplier1} * c2;
    const std::uint32_t high0 = static_cast<std::uint32_t>(product0 >> 32);
    const std::uint32_t high1 = static_cast<std::uint32_t>(product1 >> 32);
    c0 = high1 ^ c1 ^ k0;
    c1 = static_cast<std::uint32_t>(product1);
    c2 = high0 ^ c3 ^ k1;
    c3 = static_cast<std::uint32_t>(product0);
    k0 += kPhiloxStep0;
    k1 += kPhiloxStep1;
  }
  return {{c0, c1, c2, c3}};
}

// Uniforms in (0, 1]: never 0, so that their logarithm is finite.
VAEBIAS_HOST_DEVICE_INLINE double open_uniform(std::uint32_t high, std::uint32_t low) {
  // From the 53 bits as two numbers: few processors convert 64 bits in a vector.
  const double bits = static_cast<double>(high) * 2097152.0 + static_cast<double>(low >> 11);
  return (bits + 0.5) * 1.1102230246251565e-16;  // 2^-53
}
VAEBIAS_HOST_DEVICE_INLINE float open_uniform(std::uint32_t word) {
  return (static_cast<float>(word) + 0.5f) * 2.3283064365386963e-10f;  // 2^-32
}

// Two normals from two uniforms. On the CPU in straight lines, which vectorise.
template <class T>
VAEBIAS_HOST_DEVICE_INLINE void box_muller(T u, T v, T* first, T* second) {
  T sine, cosine;
#ifdef __CUDA_ARCH__
  const T radius = sqrt(T(-2) * log(u));
  if constexpr (sizeof(T) == sizeof(float)) {
    sincospif(2.0f * v, &sine, &cosine);
  } else {
    sincospi(2.0 * v, &sine, &cosine);
  }
#else
  const T radius = std::sqrt(T(-2) * simd::log_positive(u));
  simd::sincos_of_turn(v, &sine, &cosine);
#endif
  *first = radius * cosine;
  *second = radius * sine;
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
