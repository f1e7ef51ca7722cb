// Numbers that several files and both devices share.
#pragma once

#include <cstdint>

namespace vaebias {

// Pixels are summed in pieces of this size, in a fixed order, whatever the number of threads or
// blocks: a result depends on neither.
constexpr std::int64_t kPiece = 4096;

// The most columns of one Gram matrix: latents of a Jacobian, factors of a data set.
constexpr int kMaxColumns = 64;

// By which a Bernoulli target may leave [0, 1], as rounding and resizing make it. A row with a target
// further outside has a loss of NaN: it is no likelihood.
constexpr double kTargetTolerance = 1e-3;

// Posteriors, or rows, that a block of total_correlation's CUDA kernels walks over at the least.
constexpr std::int64_t kSpan = 32;

// In how many spans those blocks take a batch of B: enough for some 512 blocks of eight rows each,
// and the same on every device, so that sums do not depend on it.
inline std::int64_t total_correlation_spans(std::int64_t B) {
  const std::int64_t most = (B + kSpan - 1) / kSpan, wanted = B > 0 ? 4096 / B : 1;
  const std::int64_t spans = wanted < most ? wanted : most;
  return spans > 1 ? spans : 1;
}

constexpr double kSqrtHalf = 0.70710678118654752440;
constexpr double kSqrtTwoOverPi = 0.79788456080286535588;
constexpr double kHalfLogTwoPi = 0.91893853320467274178;

}  // namespace vaebias
