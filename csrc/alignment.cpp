// Gram matrix, principal directions and distance to the axes of each Jacobian, on the CPU: the
// Jacobian is read once, in strips that stay in cache, and its products add up in double.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include "gram_solver.h"
#include "kernels.h"
#include "parallel.h"
#include "simd.h"

namespace vaebias::cpu {
namespace {

constexpr std::int64_t kStrip = 256;

// Columns of one strip as double, [d, kStrip].
template <class T>
VAEBIAS_CLONES void load_strip(const T* jacobian, bool columns_first, std::int64_t P, std::int64_t d,
                               std::int64_t first, std::int64_t width, double* strip) {
  for (std::int64_t i = 0; i < d; ++i) {
    double* const column = strip + i * kStrip;
    if (columns_first) {
      const T* const from = jacobian + i * P + first;
#pragma omp simd
      for (std::int64_t p = 0; p < width; ++p) column[p] = static_cast<double>(from[p]);
    } else {
      const T* const from = jacobian + first * d + i;
      for (std::int64_t p = 0; p < width; ++p) column[p] = static_cast<double>(from[p * d]);
    }
  }
}

VAEBIAS_CLONES void add_products(const double* strip, std::int64_t d, std::int64_t width, double* gram) {
  for (std::int64_t a = 0; a < d; ++a) {
    for (std::int64_t b = 0; b <= a; ++b) {
      const double* const x = strip + a * kStrip;
      const double* const y = strip + b * kStrip;
      double sum = 0;
#pragma omp simd reduction(+ : sum)
      for (std::int64_t p = 0; p < width; ++p) sum += x[p] * y[p];
      gram[a * d + b] += sum;
    }
  }
}

}  // namespace

template <class T>
void gram_alignment(const T* jacobian, std::int64_t columns_first, const std::uint8_t* active,
                    std::int64_t B, std::int64_t P, std::int64_t d, T* gram, T* singular_values, T* v,
                    T* distance, std::int64_t* permutation, T* ima_contrast, int threads) {
  const T nan = std::numeric_limits<T>::quiet_NaN();
  parallel_for(B, 1, threads, [&](std::int64_t begin, std::int64_t end) {
    std::vector<double> strip(static_cast<std::size_t>(d * kStrip));
    std::vector<double> full(static_cast<std::size_t>(d * d));
    std::vector<double> memory(static_cast<std::size_t>(SolverSpace::bytes(d) / 8 + 1));
    std::vector<std::int64_t> latents;  // the active ones
    for (std::int64_t b = begin; b < end; ++b) {
      std::fill(full.begin(), full.end(), 0.0);
      for (std::int64_t first = 0; first < P; first += kStrip) {
        const std::int64_t width = std::min(kStrip, P - first);
        load_strip(jacobian + b * P * d, columns_first != 0, P, d, first, width, strip.data());
        add_products(strip.data(), d, width, full.data());
      }
      bool finite = true;
      for (std::int64_t i = 0; i < d; ++i) {
        for (std::int64_t j = 0; j <= i; ++j) {
          const double value = full[static_cast<std::size_t>(i * d + j)];
          gram[(b * d + i) * d + j] = gram[(b * d + j) * d + i] = static_cast<T>(value);
          finite = finite && std::isfinite(value);
        }
      }
      latents.clear();
      for (std::int64_t i = 0; i < d; ++i) {
        if (!active || active[b * d + i]) latents.push_back(i);
      }
      const int m = static_cast<int>(latents.size());
      std::fill(singular_values + b * d, singular_values + (b + 1) * d, finite ? T(0) : nan);
      std::fill(v + b * d * d, v + (b + 1) * d * d, finite ? T(0) : nan);
      std::fill(permutation + b * d, permutation + (b + 1) * d, std::int64_t{-1});
      if (!finite) {
        distance[b] = ima_contrast[b] = nan;
        continue;
      }
      const SolverSpace space(memory.data(), m);
      double contrast = 0;
      for (int i = 0; i < m; ++i) {
        for (int j = 0; j < m; ++j) {
          const std::int64_t row = std::max(latents[i], latents[j]);
          const std::int64_t column = std::min(latents[i], latents[j]);
          space.gram[i * m + j] = full[static_cast<std::size_t>(row * d + column)];
        }
        contrast += std::log(space.gram[i * m + i]);
      }
      jacobi_eigenvectors(Serial{}, space, m);
      assign_directions(Serial{}, space, m);
      bool dependent = false;
      double squared_distance = 0;
      for (int j = 0; j < m; ++j) {
        const double eigenvalue = std::max(0.0, space.gram[space.order[j] * (m + 1)]);
        dependent = dependent || eigenvalue == 0;
        contrast -= std::log(eigenvalue);
        singular_values[b * d + j] = static_cast<T>(std::sqrt(eigenvalue));
        const int owner = space.row_of[j];
        const double sign = directed(space, m, owner, j) < 0 ? -1.0 : 1.0;
        for (int i = 0; i < m; ++i) {
          const double entry = sign * directed(space, m, i, j);
          v[(b * d + latents[static_cast<std::size_t>(i)]) * d + j] = static_cast<T>(entry);
          const double difference = entry - (i == owner ? 1.0 : 0.0);
          squared_distance += difference * difference;
        }
        permutation[b * d + latents[static_cast<std::size_t>(owner)]] = j;
      }
      distance[b] = static_cast<T>(std::sqrt(squared_distance));
      // Hadamard's inequality makes it non-negative; rounding must not undo that.
      ima_contrast[b] = dependent ? std::numeric_limits<T>::infinity()
                                  : static_cast<T>(std::max(0.0, contrast / 2));
    }
  });
}

VAEBIAS_FLOAT_AND_DOUBLE(gram_alignment)

}  // namespace vaebias::cpu
