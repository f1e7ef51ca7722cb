// Densities of a batch under its own aggregate posterior, on the CPU: rows stream over tiles of
// posteriors that stay in cache, with sums that follow a running maximum, so that the B x B x d
// densities never exist. The same exponentials give the slopes in z; those in the posteriors sum
// over rows instead, and come from a second sweep with the roles swapped.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include "kernels.h"
#include "normal.h"
#include "parallel.h"
#include "simd.h"

namespace vaebias::cpu {
namespace {

constexpr std::int64_t kTile = 512;   // summed in lanes of T; tiles are summed in double
constexpr std::int64_t kOwners = 16;  // take turns on a tile while it is in cache

// Posteriors as the inner loop reads them, [d, B]: log N(z; mu, e^logvar) + log(2 pi)/2 is
// height - u^2 with u = (z - mu) scale. Scaled before it is squared, u overflows only where the
// density is zero.
template <class T>
struct Posteriors {
  std::vector<T> mu, scale, height;

  Posteriors(const T* means, const T* logvar, std::int64_t B, std::int64_t d)
      : mu(static_cast<std::size_t>(B * d)), scale(mu.size()), height(mu.size()) {
    for (std::int64_t j = 0; j < B; ++j) {
      for (std::int64_t l = 0; l < d; ++l) {
        const std::size_t at = static_cast<std::size_t>(l * B + j);
        mu[at] = means[j * d + l];
        scale[at] = deviation_scale(logvar[j * d + l]);
        height[at] = -logvar[j * d + l] / 2;
      }
    }
  }
};

// Log weights of posteriors [first, first + width) to row i: of its own, of the next in the
// batch, of all others (0).
template <class T>
void weigh(std::int64_t i, std::int64_t first, std::int64_t width, std::int64_t B, double own,
           double next, T* weight) {
  std::fill(weight, weight + width, T(0));
  const std::int64_t following = i + 1 < B ? i + 1 : 0;
  if (following >= first && following < first + width)
    weight[following - first] = static_cast<T>(next);
  if (i >= first && i < first + width) weight[i - first] = static_cast<T>(own);
}

// As weigh, for rows [first, first + width) to posterior j.
template <class T>
void weigh_rows(std::int64_t j, std::int64_t first, std::int64_t width, std::int64_t B, double own,
                double next, T* weight) {
  std::fill(weight, weight + width, T(0));
  const std::int64_t preceding = j > 0 ? j - 1 : B - 1;
  if (preceding >= first && preceding < first + width)
    weight[preceding - first] = static_cast<T>(next);
  if (j >= first && j < first + width) weight[j - first] = static_cast<T>(own);
}

// What sums relative to the maximum `from` are multiplied by to be relative to `to`.
double rescaling(double from, double to) { return from == to ? 1.0 : std::exp(from - to); }

// Where nothing was finite yet, shifting by the maximum would make NaN of -infinity.
template <class T>
VAEBIAS_INLINE T shift_of(T maximum) {
  return maximum == -std::numeric_limits<T>::infinity() ? T(0) : maximum;
}

// weight times slope, where no slope, even an infinite one, counts without weight.
template <class T>
VAEBIAS_INLINE T weighted(T weight, T slope) {
  return weight == T(0) ? T(0) : weight * slope;
}

// Sum of e^x and of slopes weighted by e^x, both relative to the largest x so far.
struct StreamingSum {
  double maximum = -std::numeric_limits<double>::infinity(), sum = 0;

  // Takes in a tile's sum and returns the factors by which earlier slopes and the tile's count.
  void add(double tile_maximum, double tile_sum, double* earlier, double* fresh) {
    const double to = std::max(maximum, tile_maximum);
    *earlier = rescaling(maximum, to);
    *fresh = rescaling(tile_maximum, to);
    maximum = to;
    sum = sum * *earlier + tile_sum * *fresh;
  }
  double log_sum() const { return shift_of(maximum) + std::log(sum); }
};

struct Row {
  StreamingSum joint;
  std::vector<StreamingSum> product;               // [d]
  std::vector<double> joint_slope, product_slope;  // [d]
};

template <bool with_slopes, class T>
VAEBIAS_INLINE void sweep_posteriors(const T* z, const T* mu, const T* scale, const T* height,
                                     std::int64_t B, std::int64_t d, std::int64_t width,
                                     const T* __restrict weight, T* __restrict joint,
                                     T* __restrict density, Row* row) {
  constexpr T lowest = -std::numeric_limits<T>::infinity();
  double earlier, fresh;
  for (std::int64_t j = 0; j < width; ++j) joint[j] = weight[j];
  for (std::int64_t l = 0; l < d; ++l) {
    const T zl = z[l];
    const T* const m = mu + l * B;
    const T* const s = scale + l * B;
    const T* const h = height + l * B;
    T maximum = lowest;
#pragma omp simd reduction(max : maximum)
    for (std::int64_t j = 0; j < width; ++j) {
      const T u = (zl - m[j]) * s[j];
      const T log_density = h[j] - u * u;
      joint[j] += log_density;
      density[j] = log_density + weight[j];
      maximum = density[j] > maximum ? density[j] : maximum;
    }
    const T shift = shift_of(maximum);
    T sum = 0, slope = 0;
#pragma omp simd reduction(+ : sum, slope)
    for (std::int64_t j = 0; j < width; ++j) {
      const T e = simd::exp_nonpositive(density[j] - shift);
      sum += e;
      if (with_slopes) slope += weighted(e, (zl - m[j]) * s[j] * s[j]);
    }
    const std::size_t at = static_cast<std::size_t>(l);
    row->product[at].add(maximum, sum, &earlier, &fresh);
    if (with_slopes) row->product_slope[at] = row->product_slope[at] * earlier + slope * fresh;
  }
  T maximum = lowest;
#pragma omp simd reduction(max : maximum)
  for (std::int64_t j = 0; j < width; ++j) maximum = joint[j] > maximum ? joint[j] : maximum;
  const T shift = shift_of(maximum);
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t j = 0; j < width; ++j) {
    joint[j] = simd::exp_nonpositive(joint[j] - shift);
    sum += joint[j];
  }
  row->joint.add(maximum, sum, &earlier, &fresh);
  for (std::int64_t l = 0; with_slopes && l < d; ++l) {
    const T zl = z[l];
    const T* const m = mu + l * B;
    const T* const s = scale + l * B;
    T slope = 0;
#pragma omp simd reduction(+ : slope)
    for (std::int64_t j = 0; j < width; ++j) slope += weighted(joint[j], (zl - m[j]) * s[j] * s[j]);
    double& total = row->joint_slope[static_cast<std::size_t>(l)];
    total = total * earlier + slope * fresh;
  }
}

template <class T>
VAEBIAS_CLONES void sweep(const T* z, const T* mu, const T* scale, const T* height, std::int64_t B,
                          std::int64_t d, std::int64_t width, bool with_slopes, const T* weight,
                          T* joint, T* density, Row* row) {
  if (with_slopes) {
    sweep_posteriors<true>(z, mu, scale, height, B, d, width, weight, joint, density, row);
  } else {
    sweep_posteriors<false>(z, mu, scale, height, B, d, width, weight, joint, density, row);
  }
}

// One posterior against a tile of rows: adds the sums over rows of u and of u^2 - 1/2, each
// weighted by what the row's gradients give to this posterior, for each latent.
template <class T>
VAEBIAS_CLONES void sweep_rows(const T* z, const T* mu, const T* scale, const T* height,
                               const T* normalisers, const T* grad_qz, const T* grad_prod,
                               std::int64_t B, std::int64_t d, std::int64_t width,
                               const T* __restrict weight, T* __restrict joint, double* sum_u,
                               double* sum_square) {
  // Summed in the order of the forward pass, so that far from every posterior, where a rounding is
  // more than one, nothing exceeds its normaliser.
  for (std::int64_t i = 0; i < width; ++i) joint[i] = weight[i];
  for (std::int64_t l = 0; l < d; ++l) {
    const T* const zl = z + l * B;
    const T* const normaliser = normalisers + l * B;
    const T m = mu[l], s = scale[l], h = height[l];
    T total_u = 0, total_square = 0;
#pragma omp simd reduction(+ : total_u, total_square)
    for (std::int64_t i = 0; i < width; ++i) {
      const T u = (zl[i] - m) * s;
      const T log_density = h - u * u;
      joint[i] += log_density;
      const T share =
          grad_prod[i] * simd::exp_nonpositive((log_density + weight[i]) - normaliser[i]);
      total_u += weighted(share, u);
      total_square += weighted(share, u * u - T(0.5));
    }
    sum_u[l] += static_cast<double>(total_u);
    sum_square[l] += static_cast<double>(total_square);
  }
#pragma omp simd
  for (std::int64_t i = 0; i < width; ++i) {
    joint[i] = grad_qz[i] * simd::exp_nonpositive(joint[i] - normalisers[d * B + i]);
  }
  for (std::int64_t l = 0; l < d; ++l) {
    const T* const zl = z + l * B;
    const T m = mu[l], s = scale[l];
    T total_u = 0, total_square = 0;
#pragma omp simd reduction(+ : total_u, total_square)
    for (std::int64_t i = 0; i < width; ++i) {
      const T u = (zl[i] - m) * s;
      total_u += weighted(joint[i], u);
      total_square += weighted(joint[i], u * u - T(0.5));
    }
    sum_u[l] += static_cast<double>(total_u);
    sum_square[l] += static_cast<double>(total_square);
  }
}

// Waking a second thread costs as much as some fifty thousand densities.
std::int64_t grain_of(std::int64_t B, std::int64_t d) {
  return std::max<std::int64_t>(1, 65536 / std::max<std::int64_t>(1, B * (d + 1)));
}

}  // namespace

template <class T>
void total_correlation(const T* z, const T* mu, const T* logvar, std::int64_t B, std::int64_t d,
                       double own, double next, double others, double*, T* log_qz, T* log_prod_qz,
                       T* normalisers, T* slopes, int threads) {
  const Posteriors<T> posteriors(mu, logvar, B, d);
  parallel_for(B, grain_of(B, d), threads, [&](std::int64_t begin, std::int64_t end) {
    std::vector<T> weight(kTile), joint(kTile), density(kTile);
    const std::size_t size = static_cast<std::size_t>(d);
    std::vector<Row> rows;
    for (std::int64_t top = begin; top < end; top += kOwners) {
      const std::int64_t bottom = std::min(end, top + kOwners);
      rows.assign(static_cast<std::size_t>(bottom - top), Row{{},
                                                              std::vector<StreamingSum>(size),
                                                              std::vector<double>(size),
                                                              std::vector<double>(size)});
      for (std::int64_t first = 0; first < B; first += kTile) {
        const std::int64_t width = std::min(kTile, B - first);
        for (std::int64_t i = top; i < bottom; ++i) {
          weigh(i, first, width, B, own, next, weight.data());
          sweep(z + i * d, posteriors.mu.data() + first, posteriors.scale.data() + first,
                posteriors.height.data() + first, B, d, width, slopes != nullptr, weight.data(),
                joint.data(), density.data(), &rows[static_cast<std::size_t>(i - top)]);
        }
      }
      for (std::int64_t i = top; i < bottom; ++i) {
        const Row& row = rows[static_cast<std::size_t>(i - top)];
        const double joint_sum = row.joint.log_sum();
        double product_sum = 0;
        for (std::int64_t l = 0; l < d; ++l) {
          const std::size_t at = static_cast<std::size_t>(l);
          const double log_sum = row.product[at].log_sum();
          product_sum += log_sum;
          normalisers[l * B + i] = static_cast<T>(log_sum);
          if (slopes) {
            slopes[i * d + l] = static_cast<T>(-2 * row.joint_slope[at] / row.joint.sum);
            slopes[(B + i) * d + l] =
                static_cast<T>(-2 * row.product_slope[at] / row.product[at].sum);
          }
        }
        normalisers[d * B + i] = static_cast<T>(joint_sum);
        log_qz[i] = static_cast<T>(joint_sum + others - static_cast<double>(d) * kHalfLogTwoPi);
        log_prod_qz[i] =
            static_cast<T>(product_sum + static_cast<double>(d) * (others - kHalfLogTwoPi));
      }
    }
  });
}

template <class T>
void total_correlation_backward(const T* z, const T* mu, const T* logvar, const T* normalisers,
                                const T* slopes, const T* grad_qz, const T* grad_prod,
                                std::int64_t B, std::int64_t d, double own, double next, double*,
                                T* grad_z, T* grad_mu, T* grad_logvar, int threads) {
  for (std::int64_t i = 0; i < (grad_z ? B : 0); ++i) {
    for (std::int64_t at = i * d; at < (i + 1) * d; ++at)
      grad_z[at] = grad_qz[i] * slopes[at] + grad_prod[i] * slopes[B * d + at];
  }
  if (!grad_mu) return;
  std::vector<T> rows(static_cast<std::size_t>(B * d));  // z as [d, B]
  for (std::int64_t i = 0; i < B; ++i) {
    for (std::int64_t l = 0; l < d; ++l) rows[static_cast<std::size_t>(l * B + i)] = z[i * d + l];
  }
  parallel_for(B, grain_of(B, d), threads, [&](std::int64_t begin, std::int64_t end) {
    std::vector<T> weight(kTile), joint(kTile);
    std::vector<T> scale(static_cast<std::size_t>(kOwners * d)), height(scale.size());
    std::vector<double> sum_u(scale.size()), sum_square(scale.size());
    for (std::int64_t top = begin; top < end; top += kOwners) {
      const std::int64_t bottom = std::min(end, top + kOwners);
      for (std::int64_t at = top * d; at < bottom * d; ++at) {
        const std::size_t here = static_cast<std::size_t>(at - top * d);
        scale[here] = deviation_scale(logvar[at]);
        height[here] = -logvar[at] / 2;
        sum_u[here] = sum_square[here] = 0;
      }
      for (std::int64_t first = 0; first < B; first += kTile) {
        const std::int64_t width = std::min(kTile, B - first);
        for (std::int64_t j = top; j < bottom; ++j) {
          const std::int64_t at = (j - top) * d;
          weigh_rows(j, first, width, B, own, next, weight.data());
          sweep_rows(rows.data() + first, mu + j * d, scale.data() + at, height.data() + at,
                     normalisers + first, grad_qz + first, grad_prod + first, B, d, width,
                     weight.data(), joint.data(), sum_u.data() + at, sum_square.data() + at);
        }
      }
      for (std::int64_t at = top * d; at < bottom * d; ++at) {
        const std::size_t here = static_cast<std::size_t>(at - top * d);
        grad_mu[at] = static_cast<T>(static_cast<double>(scale[here]) * (2 * sum_u[here]));
        grad_logvar[at] = static_cast<T>(sum_square[here]);
      }
    }
  });
}

VAEBIAS_FLOAT_AND_DOUBLE(total_correlation)
VAEBIAS_FLOAT_AND_DOUBLE(total_correlation_backward)

}  // namespace vaebias::cpu
