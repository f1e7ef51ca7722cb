// Gram matrix, principal directions and distance to the axes of each Jacobian, on the CPU. The
// Jacobian is read once, in strips (strip.h); eigenvectors of four points are found at once.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include "gram_solver.h"
#include "kernels.h"
#include "parallel.h"
#include "simd.h"
#include "strip.h"

namespace vaebias::cpu {
namespace {

using simd::Four;
using simd::Fours;
using simd::kLanes;

VAEBIAS_CLONES void eigenvectors_of_four(Four* grams, Four* vectors, int d) {
  jacobi_eigenvectors(Serial{}, grams, vectors, d);
}

// J^T J of one point, [d, d]. In double throughout: sums in float would turn V where singular
// values lie close together. sums [padded(d), padded(d), kLanesOfSum].
template <class T>
void gram_of(const T* jacobian, std::int64_t P, std::int64_t d, Columns<T, double>* columns,
             std::vector<double>* sums, double* gram) {
  std::fill(sums->begin(), sums->end(), 0.0);
  for (std::int64_t first = 0; first < P; first += kStrip) {
    const std::int64_t width = std::min(kStrip, P - first);
    add_gram(columns->load(jacobian, first, width, nullptr), padded(d), width, sums->data());
  }
  for (std::int64_t i = 0; i < d; ++i) {
    for (std::int64_t j = 0; j <= i; ++j) {
      gram[i * d + j] = gram[j * d + i] =
          sum_lanes(sums->data() + (i * padded(d) + j) * kLanesOfSum);
    }
  }
}

}  // namespace

template <class T>
void gram_alignment(const T* jacobian, bool latents_first, const std::uint8_t* active,
                    std::int64_t B, std::int64_t P, std::int64_t d, double*, T* gram,
                    T* singular_values, T* v, T* distance, std::int64_t* permutation,
                    T* ima_contrast, int threads) {
  const T nan = std::numeric_limits<T>::quiet_NaN();
  const auto counts = [&](std::int64_t b, std::int64_t i) { return !active || active[b * d + i]; };
  parallel_for((B + kLanes - 1) / kLanes, 1, threads, [&](std::int64_t begin, std::int64_t end) {
    Fours grams(d * d), vectors(d * d);
    Columns<T, double> columns(d, P, latents_first);
    std::vector<double> sums(static_cast<std::size_t>(padded(d) * padded(d) * kLanesOfSum));
    std::vector<double> full(static_cast<std::size_t>(d * d));
    std::vector<double> memory(static_cast<std::size_t>(SolverSpace::bytes(d) / 8 + 1));
    std::vector<int> latents;  // the active ones
    double log_norms[kLanes], scale[kLanes];  // of the Gram that is diagonalised
    bool finite[kLanes];

    const auto read = [&](std::int64_t b, int lane) {
      gram_of(jacobian + b * P * d, P, d, &columns, &sums, full.data());
      finite[lane] =
          std::all_of(full.begin(), full.end(), [](double x) { return std::isfinite(x); });
      log_norms[lane] = 0;
      double largest = 0;
      for (std::int64_t i = 0; i < d; ++i) {
        if (!finite[lane] || !counts(b, i)) continue;
        const double square = full[static_cast<std::size_t>(i * (d + 1))];
        log_norms[lane] += std::log(square);
        largest = std::max(largest, square);
      }
      scale[lane] = std::ldexp(1.0, -even_exponent(largest));
      for (std::int64_t i = 0; i < d; ++i) {
        const bool kept = finite[lane] && counts(b, i);
        for (std::int64_t j = 0; j < d; ++j) {
          const double value = full[static_cast<std::size_t>(i * d + j)];
          gram[(b * d + i) * d + j] = static_cast<T>(value);
          // A passive latent is a row and column of zeros, and stays apart from the others.
          grams.data()[i * d + j][lane] = kept && counts(b, j) ? scale[lane] * value : 0.0;
        }
      }
    };

    const auto write = [&](std::int64_t b, int lane) {
      const T blank = finite[lane] ? T(0) : nan;
      std::fill(singular_values + b * d, singular_values + (b + 1) * d, blank);
      std::fill(v + b * d * d, v + (b + 1) * d * d, blank);
      std::fill(permutation + b * d, permutation + (b + 1) * d, std::int64_t{-1});
      if (!finite[lane]) {
        distance[b] = ima_contrast[b] = nan;
        return;
      }
      latents.clear();
      for (int i = 0; i < d; ++i) {
        if (counts(b, i)) latents.push_back(i);
      }
      const int m = static_cast<int>(latents.size());
      const SolverSpace space(memory.data(), m);
      for (int i = 0; i < m; ++i) {
        for (int j = 0; j < m; ++j) {
          const std::int64_t at = latents[i] * d + latents[j];
          space.gram[i * m + j] = grams.data()[at][lane];
          space.vectors[i * m + j] = vectors.data()[at][lane];
        }
      }
      order_directions(Serial{}, space, m);
      assign_directions(Serial{}, space, m);
      double contrast = log_norms[lane];
      bool dependent = m > P;  // whatever rounding leaves of an eigenvalue of zero
      double squared_distance = 0;
      for (int j = 0; j < m; ++j) {
        const double eigenvalue =
            std::max(0.0, space.gram[space.order[j] * (m + 1)]) / scale[lane];
        dependent = dependent || eigenvalue == 0;
        contrast -= std::log(eigenvalue);
        singular_values[b * d + j] = static_cast<T>(std::sqrt(eigenvalue));
        squared_distance +=
            place_direction(space, m, j, latents.data(), d, v + b * d * d, permutation + b * d);
      }
      distance[b] = static_cast<T>(std::sqrt(squared_distance));
      // Hadamard's inequality makes it non-negative; rounding must not undo that.
      ima_contrast[b] = dependent ? std::numeric_limits<T>::infinity()
                                  : static_cast<T>(std::max(0.0, contrast / 2));
    };

    for (std::int64_t batch = begin; batch < end; ++batch) {
      const std::int64_t first = batch * kLanes;
      const int points = static_cast<int>(std::min<std::int64_t>(kLanes, B - first));
      grams.clear();
      for (int lane = 0; lane < points; ++lane) read(first + lane, lane);
      eigenvectors_of_four(grams.data(), vectors.data(), static_cast<int>(d));
      for (int lane = 0; lane < points; ++lane) write(first + lane, lane);
    }
  });
}

VAEBIAS_FLOAT_AND_DOUBLE(gram_alignment)

}  // namespace vaebias::cpu
