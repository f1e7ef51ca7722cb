// Tangent Grams on the CPU: the tangents of one image are formed a strip of pixels at a time in
// a buffer that stays in L1, and their products added up; the N x k x P tangents never exist.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <type_traits>
#include <utility>
#include <vector>

#include "kernels.h"
#include "parallel.h"
#include "simd.h"
#include "strip.h"

namespace vaebias::cpu {
namespace {

// Differences of bytes subtract and multiply exactly, in integers.
template <class Pixel>
using Difference = std::conditional_t<std::is_same_v<Pixel, std::uint8_t>, std::int16_t, Pixel>;

template <class Pixel>
VAEBIAS_INLINE void subtract(const Pixel* to, const Pixel* from, std::int64_t width,
                             Difference<Pixel>* tangent) {
#pragma omp simd
  for (std::int64_t p = 0; p < width; ++p) {
    tangent[p] = static_cast<Difference<Pixel>>(static_cast<Difference<Pixel>>(to[p]) -
                                                static_cast<Difference<Pixel>>(from[p]));
  }
}

// Adds the products of tangents a[0] and a[1] with b[0] to b[3] to sums [2, 4], `stride` between
// rows; (kFull + kStrip) 255^2 < 2^31. Without a pragma: as plain sums they become multiply-add
// instructions of 16-bit pairs.
VAEBIAS_INLINE void add_2x4(const std::int16_t* const* a, const std::int16_t* const* b,
                            std::int64_t width, double* sums, std::int64_t stride) {
  const std::int16_t *const a0 = a[0], *const a1 = a[1];
  const std::int16_t *const b0 = b[0], *const b1 = b[1], *const b2 = b[2], *const b3 = b[3];
  std::int32_t s00 = 0, s01 = 0, s02 = 0, s03 = 0, s10 = 0, s11 = 0, s12 = 0, s13 = 0;
  for (std::int64_t p = 0; p < width; ++p) {
    const std::int32_t x = a0[p], y = a1[p];
    s00 += x * b0[p];
    s01 += x * b1[p];
    s02 += x * b2[p];
    s03 += x * b3[p];
    s10 += y * b0[p];
    s11 += y * b1[p];
    s12 += y * b2[p];
    s13 += y * b3[p];
  }
  const std::int32_t found[2][4] = {{s00, s01, s02, s03}, {s10, s11, s12, s13}};
  for (int i = 0; i < 2; ++i) {
    for (int j = 0; j < 4; ++j) sums[i * stride + j] += found[i][j];
  }
}

// All products of a[0] and a[1].
VAEBIAS_INLINE void add_2x2(const std::int16_t* const* a, std::int64_t width, double* sums,
                            std::int64_t stride) {
  const std::int16_t *const a0 = a[0], *const a1 = a[1];
  std::int32_t s00 = 0, s10 = 0, s11 = 0;
  for (std::int64_t p = 0; p < width; ++p) {
    const std::int32_t x = a0[p], y = a1[p];
    s00 += x * x;
    s10 += x * y;
    s11 += y * y;
  }
  sums[0] += s00;
  sums[stride] += s10;
  sums[stride + 1] += s11;
}

// As add_triangle of strip.h, with one sum a product.
VAEBIAS_INLINE void add_products(const std::int16_t* const* at, std::int64_t count,
                                 std::int64_t width, double* sums) {
  for (std::int64_t i = 0; i < count; i += kPair) {
    double* const rows = sums + i * count;
    std::int64_t j = 0;
    for (; j + 4 <= i + kPair; j += 4) add_2x4(at + i, at + j, width, rows + j, count);
    if (j < i + kPair) add_2x2(at + i, width, rows + j, count);
  }
}

constexpr std::int64_t kRun = 64;  // pixels: of bytes, a line of the cache
constexpr std::int64_t kRunsOfStrip = kStrip / kRun;

// Pixels between the differences of tangents. Those of bytes are multiplied when there are kFull of
// them or more: nearly as many and a strip must fit.
constexpr std::int64_t kFull = 4 * kStrip;
template <class Pixel>
constexpr std::int64_t kTangents =
    std::is_same_v<Pixel, std::uint8_t> ? kFull + kStrip + 16 : kStride;

// Sets a bit for each run in which an image is busy: not flat in one colour.
VAEBIAS_CLONES void find_busy_runs(const std::uint8_t* image, std::int64_t P, std::uint8_t colour,
                                   std::uint64_t* busy) {
  for (std::int64_t p = 0; p < P; p += kRun) {
    std::uint8_t differs = p + kRun > P;
    if (!differs) {
      for (std::int64_t i = p; i < p + kRun; ++i) differs |= image[i] ^ colour;
    }
    busy[p / kRun / 64] |= std::uint64_t{differs != 0} << (p / kRun % 64);
  }
}

// For each image the runs in which it is busy. Where none of the neighbours of a point is, no
// tangent is other than zero, and nothing is read. Not worth a pass over the images unless each is
// used several times: else all runs count as busy.
class BusyRuns {
 public:
  BusyRuns(const std::uint8_t* images, std::int64_t M, std::int64_t P, std::int64_t uses,
           int threads)
      : words_((P + 64 * kRun - 1) / (64 * kRun)) {
    if (P == 0 || uses < 4 * M) return;
    bits_.resize(static_cast<std::size_t>(M * words_));
    parallel_for(M, 64, threads, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t m = begin; m < end; ++m)
        find_busy_runs(images + m * P, P, images[0], bits_.data() + m * words_);
    });
  }
  // Floats are read as they are.
  template <class T>
  BusyRuns(const T*, std::int64_t, std::int64_t, std::int64_t, int) : words_(0) {}

  std::int64_t words() const { return words_; }
  std::uint64_t initial() const { return bits_.empty() ? ~std::uint64_t{0} : 0; }
  void add(std::int64_t image, std::vector<std::uint64_t>& busy) const {
    if (bits_.empty()) return;
    const std::uint64_t* const own = bits_.data() + image * words_;
    for (std::int64_t i = 0; i < words_; ++i) busy[static_cast<std::size_t>(i)] |= own[i];
  }

 private:
  std::int64_t words_;
  std::vector<std::uint64_t> bits_;  // [M, words_], or empty
};

// The tangents of a point: whose factors they are, between which images, and a bit for each run in
// which one of these is busy. An odd tangent has a partner that is not used: `count` is even.
template <class Pixel>
struct Tangents {
  std::vector<std::int64_t> factors;
  std::vector<const Pixel*> plus, minus;
  std::vector<std::uint64_t> busy;
  std::int64_t count = 0;

  Tangents(std::int64_t k, std::int64_t words)
      : plus(static_cast<std::size_t>(padded(k))),
        minus(plus.size()),
        busy(static_cast<std::size_t>(words)) {}
};

// True where tangents [first, last) are zero in a run of pixels.
VAEBIAS_INLINE bool all_zero(const std::uint8_t* const* plus, const std::uint8_t* const* minus,
                             std::int64_t first, std::int64_t last, std::int64_t pixel) {
  using Bytes = Register<std::uint8_t, 32>::type;  // images need not be aligned
  const auto load = [](const std::uint8_t* bytes)
                        VAEBIAS_INLINE_LAMBDA { return *reinterpret_cast<const Bytes*>(bytes); };
  Bytes changed = {};
  for (std::int64_t a = first; a < last; ++a) {
#pragma GCC unroll 8
    for (std::int64_t p = pixel; p < pixel + kRun; p += sizeof(Bytes))
      changed |= load(plus[a] + p) ^ load(minus[a] + p);
  }
  const auto words = (Register<std::uint64_t, 4>::type)changed;
  return (words[0] | words[1] | words[2] | words[3]) == 0;
}

// Adds the products of a point's tangents over P pixels to sums [count, count]. differences
// [count, kTangents], at [count], is where some of them stand: runs that are not busy are left out,
// and runs in which no tangent is other than zero. What the next point needs is fetched along the
// way.
VAEBIAS_CLONES void add_tangents(const Tangents<std::uint8_t>& own,
                                 const Tangents<std::uint8_t>& next, std::int64_t P,
                                 std::int16_t* differences, const std::int16_t* const* at,
                                 double* sums) {
  const std::uint8_t* const* const plus = own.plus.data();
  const std::uint8_t* const* const minus = own.minus.data();
  const std::int64_t count = own.count;
  if (count == 0) return;
  std::int64_t filled = 0;
  const auto append = [&](std::int64_t pixel, std::int64_t width) VAEBIAS_INLINE_LAMBDA {
    for (std::int64_t a = 0; a < count; ++a)
      subtract(plus[a] + pixel, minus[a] + pixel, width,
               differences + a * kTangents<std::uint8_t> + filled);
    filled += width;
  };
  // A bit for each run of a strip, the first one lowest.
  const auto strip_of = [](const std::vector<std::uint64_t>& runs, std::int64_t pixel)
                            VAEBIAS_INLINE_LAMBDA {
                              const std::int64_t run = pixel / kRun;
                              return runs[static_cast<std::size_t>(run / 64)] >> (run % 64);
                            };
  for (std::int64_t first = 0; first < P; first += kStrip) {
    const std::int64_t last = std::min(P, first + kStrip);
    const std::uint64_t busy = strip_of(own.busy, first), ahead = strip_of(next.busy, first);
    for (std::int64_t r = 0; r < kRunsOfStrip; ++r) {
      if ((ahead >> r & 1) == 0) continue;
      for (std::size_t a = 0; a < next.factors.size(); ++a) {
        __builtin_prefetch(next.plus[a] + first + r * kRun, 0, 2);
        __builtin_prefetch(next.minus[a] + first + r * kRun, 0, 2);
      }
    }
    std::int64_t p = first;
    for (std::int64_t r = 0; p + kRun <= last; ++r, p += kRun) {
      // The first tangent by itself: where most pixels change, one look is enough.
      if ((busy >> r & 1) != 0 &&
          (!all_zero(plus, minus, 0, 1, p) || !all_zero(plus, minus, 1, count, p))) {
        append(p, kRun);
      }
    }
    if (p < last) append(p, last - p);
    if (filled < kFull) continue;
    add_products(at, count, filled, sums);
    filled = 0;
  }
  add_products(at, count, filled, sums);
}

template <class T>
VAEBIAS_CLONES void subtract_strip(const Tangents<T>& own, std::int64_t first, std::int64_t width,
                                   T* differences) {
  for (std::size_t a = 0; a < static_cast<std::size_t>(own.count); ++a) {
    subtract(own.plus[a] + first, own.minus[a] + first, width,
             differences + a * static_cast<std::size_t>(kTangents<T>));
  }
}

// As above, all runs, with sums [count, count, kLanesOfSum].
template <class T>
void add_tangents(const Tangents<T>& own, const Tangents<T>&, std::int64_t P, T* differences,
                  const T* const* at, double* sums) {
  for (std::int64_t first = 0; first < P; first += kStrip) {
    const std::int64_t width = std::min(kStrip, P - first);
    subtract_strip(own, first, width, differences);
    add_gram(Strip<T>{at}, own.count, width, sums);
  }
}

template <class T>
VAEBIAS_CLONES void add_difference(const T* plus, const T* minus, double weight, std::int64_t n,
                                   double* out) {
#pragma omp simd
  for (std::int64_t p = 0; p < n; ++p) {
    out[p] += weight * (static_cast<double>(plus[p]) - static_cast<double>(minus[p]));
  }
}

bool within(std::int64_t index, std::int64_t size) { return index >= 0 && index < size; }

template <class Pixel, class T>
void gram_of_tangents(const Pixel* images, const std::int64_t* plus, const std::int64_t* minus,
                      const T* inverse_steps, std::int64_t M, std::int64_t N, std::int64_t k,
                      std::int64_t P, T* gram, int threads) {
  const std::int64_t grain = std::max<std::int64_t>(1, 16384 / std::max<std::int64_t>(1, k * P));
  const BusyRuns runs(images, M, P, 2 * N * k, threads);
  parallel_for(N, grain, threads, [&](std::int64_t begin, std::int64_t end) {
    const std::size_t columns = static_cast<std::size_t>(padded(k));
    constexpr auto stride = static_cast<std::size_t>(kTangents<Pixel>);
    std::vector<Difference<Pixel>> differences(columns * stride);
    std::vector<const Difference<Pixel>*> at(columns);
    for (std::size_t a = 0; a < columns; ++a) at[a] = differences.data() + a * stride;
    constexpr std::size_t lanes = std::is_same_v<Pixel, std::uint8_t> ? 1 : kLanesOfSum;
    std::vector<double> sums(columns * columns * lanes);
    const auto has_tangent = [&](std::int64_t n, std::int64_t a) {
      return inverse_steps[n * k + a] != T(0) && within(plus[n * k + a], M) &&
             within(minus[n * k + a], M);
    };
    const auto look_at = [&](std::int64_t n, Tangents<Pixel>& point) {
      point.factors.clear();
      std::fill(point.busy.begin(), point.busy.end(), runs.initial());
      std::size_t m = 0;
      for (std::int64_t a = 0; a < k; ++a) {
        if (!has_tangent(n, a)) continue;
        const std::int64_t to = plus[n * k + a], from = minus[n * k + a];
        point.factors.push_back(a);
        point.plus[m] = images + to * P;
        point.minus[m++] = images + from * P;
        runs.add(to, point.busy);
        runs.add(from, point.busy);
      }
      if (m % 2 == 1) {
        point.plus[m] = point.plus[m - 1];
        point.minus[m] = point.minus[m - 1];
      }
      point.count = padded(static_cast<std::int64_t>(m));
    };
    Tangents<Pixel> own(k, runs.words()), next(k, runs.words());
    look_at(begin, next);
    for (std::int64_t n = begin; n < end; ++n) {
      const T* const steps = inverse_steps + n * k;
      std::swap(own, next);
      look_at(std::min(n + 1, end - 1), next);
      const std::vector<std::int64_t>& factors = own.factors;
      const std::size_t m = factors.size();
      std::fill(sums.begin(), sums.end(), 0.0);
      add_tangents(own, next, P, differences.data(), at.data(), sums.data());
      for (std::int64_t a = 0; a < k; ++a) {
        const auto broken = [&](std::int64_t i) { return steps[i] != T(0) && !has_tangent(n, i); };
        for (std::int64_t b = 0; b <= a; ++b) {
          gram[(n * k + a) * k + b] = gram[(n * k + b) * k + a] =
              broken(a) || broken(b) ? std::numeric_limits<T>::quiet_NaN() : T(0);
        }
      }
      for (std::size_t i = 0; i < m; ++i) {
        for (std::size_t j = 0; j <= i; ++j) {
          const std::int64_t a = factors[i], b = factors[j];
          const double* const parts =
              sums.data() + (i * static_cast<std::size_t>(own.count) + j) * lanes;
          const double sum = std::accumulate(parts, parts + lanes, 0.0);
          gram[(n * k + a) * k + b] = gram[(n * k + b) * k + a] =
              static_cast<T>(sum * static_cast<double>(steps[a]) * static_cast<double>(steps[b]));
        }
      }
    }
  });
}

}  // namespace

template <class T>
void tangent_gram(const void* images, bool images_are_bytes, const std::int64_t* plus,
                  const std::int64_t* minus, const T* inverse_steps, std::int64_t M, std::int64_t N,
                  std::int64_t k, std::int64_t P, T* gram, int threads) {
  if (images_are_bytes) {
    gram_of_tangents(static_cast<const std::uint8_t*>(images), plus, minus, inverse_steps, M, N, k,
                     P, gram, threads);
  } else {
    gram_of_tangents(static_cast<const T*>(images), plus, minus, inverse_steps, M, N, k, P, gram,
                     threads);
  }
}

// With W = grad_gram + its transpose: d loss / d t_a = sum_b W_ab t_b, and a use of image m as
// plus (minus) of tangent a adds (takes) inverse_steps_a times that.
template <class T>
void tangent_gram_backward(const T* images, const std::int64_t* plus, const std::int64_t* minus,
                           const T* inverse_steps, const T* weight, const std::int64_t* uses,
                           const std::int64_t* starts, std::int64_t M, std::int64_t N,
                           std::int64_t k, std::int64_t P, T* grad_images, int threads) {
  static_cast<void>(N);
  parallel_for(M, 1, threads, [&](std::int64_t begin, std::int64_t end) {
    std::vector<double> sum(static_cast<std::size_t>(P));  // an image may have many uses
    for (std::int64_t m = begin; m < end; ++m) {
      std::fill(sum.begin(), sum.end(), 0.0);
      for (std::int64_t use = starts[m]; use < starts[m + 1]; ++use) {
        const std::int64_t n = uses[use] / (2 * k), a = uses[use] / 2 % k;
        const double own =
            (uses[use] % 2 ? -1.0 : 1.0) * static_cast<double>(inverse_steps[n * k + a]);
        for (std::int64_t b = 0; b < k; ++b) {
          const double w = own * static_cast<double>(weight[(n * k + a) * k + b]) *
                           static_cast<double>(inverse_steps[n * k + b]);
          const std::int64_t to = plus[n * k + b], from = minus[n * k + b];
          if (w == 0 || !within(to, M) || !within(from, M)) continue;
          add_difference(images + to * P, images + from * P, w, P, sum.data());
        }
      }
      std::transform(sum.begin(), sum.end(), grad_images + m * P,
                     [](double x) { return static_cast<T>(x); });
    }
  });
}

VAEBIAS_FLOAT_AND_DOUBLE(tangent_gram)
VAEBIAS_FLOAT_AND_DOUBLE(tangent_gram_backward)

}  // namespace vaebias::cpu
